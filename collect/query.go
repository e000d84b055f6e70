package collect

import (
	"hash/maphash"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// queryTimeout is after how long a tracer reports a query without an answer.
	queryTimeout = 5 * time.Second
	// clientWait is how long the server's side of a query waits for the client's side where the client is a target. A
	// client that never gets the answer reports its timeout only then.
	clientWait = queryTimeout + 1500*time.Millisecond
	// queryMemory is how long a reported side is remembered, so that the other side of the query is not shown as well.
	queryMemory = 15 * time.Second
	// clockError is the tolerated difference between the clocks of two nodes if the client's address and port are the
	// same on both sides; otherwise it is lateness.
	clockError = time.Second
	// maxSides limits the remembered sides, maxSameKey those with the same key.
	maxSides   = 1 << 16
	maxSameKey = 64
)

// queryKey is what both sides of a query have in common. NAT changes none of it.
type queryKey struct {
	id         uint32
	proto      event.Protocol
	kind, name string
}

// querySide is a query as one side reported it.
type querySide struct {
	key            uint64
	isClient       bool
	node           string
	pod            string // its UID
	ownNetwork     bool   // the pod is not in its node's network
	proto          event.Protocol
	first, last    uint64 // times of the first attempt and of the report, ns since the Unix epoch
	client, server addrPort
	viaService     bool // a client's: server is a Service's address
	knownServer    bool // a client's: server is a pod's or a Service's address
	knownClient    bool // a server's: client is a pod's own address
	attempts       uint32
	ev             *event.Event // a server's side that waits for the client's
	bytes          int          // size of ev
	until          time.Time
}

// queries joins the sides of DNS queries: each query becomes one event, the client's if it arrives in time.
type queries struct {
	seed  maphash.Seed
	sides map[uint64][]*querySide
	// Waiting and remembered sides in the order of their deadlines. The two waits differ in length, so each has a
	// queue.
	brief, long, remembered []*querySide
	n, bytes                int
	// When the newest report of an evicted side was made, and until when a side would have been remembered. The other
	// side of such a query may be shown as well.
	evictedLast  uint64
	evictedUntil time.Time
}

func newQueries() queries { return queries{seed: maphash.MakeSeed(), sides: map[uint64][]*querySide{}} }

// query takes one side of a query. The lock is held.
func (c *Collector) query(s *Source, ev *event.Event, d *event.Dns, now time.Time) {
	via := removeService(d.GetDst())
	far := c.nameEnds(ev)
	if far.Service == "" && via != (addrPort{}) {
		c.nameService(d, via)
	}
	if d.QueryId == nil {
		c.push(ev, now) // a tracer or recording of an earlier version
		return
	}
	isClient := d.GetObserved() != event.Side_SIDE_DST
	if far.Pod != "" && far.Service == "" && !far.Observed {
		c.push(ev, now) // there is no other side
		return
	}
	side := c.querySide(s, ev, d)
	side.isClient = isClient
	if isClient {
		side.viaService, side.knownServer = far.Service != "", far.Pod != "" || far.Service != ""
		if joined, out := c.queries.joinClient(c, side); !out {
			if !joined {
				c.countRepeat(side, now)
			}
			c.push(ev, now)
		}
		if side.attempts > 0 {
			c.queries.remember(c, side, now)
		}
		return
	}
	side.knownClient = far.Pod != ""
	if c.queries.joinServer(c, side) {
		return
	}
	c.countRepeat(side, now)
	side.ev, side.bytes = ev, bytesOf(ev)
	c.queries.hold(c, side, c.clientMayReport(far), now)
}

// removeService removes the address of a Service that a tracer has seen, and returns it.
func removeService(server *event.Endpoint) (via addrPort) {
	if server == nil {
		return via
	}
	via = newAddrPort(&event.Endpoint{Address: server.ServiceAddress, Port: server.ServicePort})
	server.ServiceAddress, server.ServicePort = nil, 0
	return via
}

// nameService names the Service of a client's query where only the answer had its address. Anyone may answer, so the
// name counts only if the answering pod is a backend of that Service.
func (c *Collector) nameService(d *event.Dns, via addrPort) {
	if d.GetObserved() == event.Side_SIDE_DST || !c.backs(via, newAddrPort(d.GetDst()), d.GetProtocol()) {
		return
	}
	n := c.name(via, d.GetProtocol())
	d.Dst.Service, d.Dst.ServiceNamespace, d.Dst.ServiceNote = n.Service, n.ServiceNamespace, 0
	d.Dst.ServiceAddress, d.Dst.ServicePort = via.bytes(nil), uint32(via.port)
}

func (c *Collector) querySide(s *Source, ev *event.Event, d *event.Dns) *querySide {
	q := &querySide{
		key: maphash.Comparable(c.queries.seed, queryKey{
			d.GetQueryId(), d.GetProtocol(), d.GetType(), strings.ToLower(d.GetName()),
		}),
		node: s.node, pod: ev.GetPodUid(), proto: d.GetProtocol(), last: ev.GetTime(),
		client: newAddrPort(d.GetSrc()), server: newAddrPort(d.GetDst()),
		attempts: max(1, d.GetAttempts()),
	}
	q.ownNetwork = q.client.isLoopback() && c.ownNetwork(q.pod)
	took := uint64(0)
	switch {
	case d.LatencyMicros != nil:
		took = d.GetLatencyMicros() * 1000
	case d.GetOutcome() != event.DnsOutcome_DNS_OUTCOME_ANSWERED:
		took = uint64(queryTimeout)
	}
	q.first = q.last - min(took, q.last)
	return q
}

// clientMayReport reports whether the client is a target on a node whose tracer runs.
func (c *Collector) clientMayReport(client Name) bool {
	if !client.Observed || client.Node == "" {
		return client.Observed
	}
	s := c.sources[client.Node]
	return s != nil && s.open
}

// countRepeat counts a query whose other side was evicted and may have been shown.
func (c *Collector) countRepeat(q *querySide, now time.Time) {
	if x := &c.queries; q.first <= x.evictedLast && now.Before(x.evictedUntil) {
		c.loss.addOf(Loss{Node: q.node, Stage: event.LossStage_LOSS_STAGE_MERGE, Source: mayRepeat, Count: 1})
	}
}

// joinClient finds the server's sides of a client's query. It returns whether there is one, and whether one is already
// out.
func (x *queries) joinClient(c *Collector, client *querySide) (joined, out bool) {
	for client.attempts > 0 {
		server := x.nearest(c, client)
		if server == nil {
			break
		}
		client.attempts -= min(client.attempts, server.attempts)
		out = out || !joined && server.ev == nil
		joined = true
		x.bytes -= server.bytes
		server.ev, server.bytes, server.attempts = nil, 0, 0
	}
	return joined, out
}

// joinServer reports whether the client has already reported the server's query.
func (x *queries) joinServer(c *Collector, server *querySide) bool {
	client := x.nearest(c, server)
	if client == nil {
		return false
	}
	client.attempts -= min(client.attempts, server.attempts)
	return true
}

// nearest finds the other side of q: of several the nearest in time.
func (x *queries) nearest(c *Collector, q *querySide) *querySide {
	var best *querySide
	var least uint64
	for _, other := range x.sides[q.key] {
		if other.isClient == q.isClient || other.attempts == 0 {
			continue
		}
		client, server := other, q
		if q.isClient {
			client, server = q, other
		}
		if !c.sameQuery(client, server) {
			continue
		}
		d := min(distance(q.first, other.first), distance(q.last, other.last))
		if best == nil || d < least {
			best, least = other, d
		}
	}
	return best
}

// sameQuery reports whether a client's side and a server's side with the same key are one query: the client's address
// and port are the same, or NAT has changed them. NAT has not if the server sees a pod's own address.
func (c *Collector) sameQuery(client, server *querySide) bool {
	limit := uint64(clockError)
	if client.client != server.client {
		if server.knownClient || server.client.isLoopback() {
			return false
		}
		if client.server != server.server && client.knownServer && (!client.viaService || c.o.Namer == nil ||
			!c.o.Namer.Backs(client.server.netip(), server.server.netip(), client.proto)) {
			return false
		}
		limit = lateness
	} else if client.client.isLoopback() && !client.sharesLoopback(server) {
		return false
	}
	return client.first <= server.last+limit && server.first <= client.last+limit
}

// sharesLoopback reports whether a loopback address means the same on both sides: in one pod, or on one node's network.
func (q *querySide) sharesLoopback(other *querySide) bool {
	return q.node == other.node && (q.pod == other.pod || !q.ownNetwork && !other.ownNetwork)
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// hold keeps a server's side until the wait for its client's side is over.
func (x *queries) hold(c *Collector, q *querySide, long bool, now time.Time) {
	if long {
		q.until = now.Add(clientWait)
		x.long = append(x.long, q)
	} else {
		q.until = now.Add(c.o.JoinWindow)
		x.brief = append(x.brief, q)
	}
	x.bytes += q.bytes
	x.add(c, q, now)
	for _, queue := range [][]*querySide{x.brief, x.long} {
		for i := 0; i < len(queue) && x.bytes > c.o.MaxPendingBytes; i++ {
			c.releaseQuery(queue[i], now)
		}
	}
}

func (x *queries) remember(c *Collector, q *querySide, now time.Time) {
	q.until = now.Add(queryMemory)
	x.remembered = append(x.remembered, q)
	x.add(c, q, now)
}

func (x *queries) add(c *Collector, q *querySide, now time.Time) {
	list := append(x.sides[q.key], q)
	if len(list) > maxSameKey {
		x.evict(c, list[0], now)
		list = list[1:]
	}
	x.sides[q.key] = list
	if x.n++; x.n > maxSides {
		x.evictOldest(c, now)
	}
}

// evictOldest forgets one side: of the remembered ones if there are any, else of those that wait.
func (x *queries) evictOldest(c *Collector, now time.Time) {
	for _, queue := range []*[]*querySide{&x.remembered, &x.brief, &x.long} {
		if len(*queue) > 0 {
			x.evict(c, (*queue)[0], now)
			x.forget((*queue)[0])
			*queue = (*queue)[1:]
			x.n--
			return
		}
	}
}

// evict emits a waiting side, and notes that its other side will not be found.
func (x *queries) evict(c *Collector, q *querySide, now time.Time) {
	c.releaseQuery(q, now)
	if q.attempts > 0 {
		x.evictedLast = max(x.evictedLast, q.last)
		x.evictedUntil = now.Add(queryMemory)
	}
}

func (x *queries) forget(q *querySide) {
	list := x.sides[q.key]
	for i, other := range list {
		if other != q {
			continue
		}
		if len(list) == 1 {
			delete(x.sides, q.key)
			return
		}
		if i > 0 {
			copy(list[1:i+1], list[:i])
		}
		list[0] = nil
		x.sides[q.key] = list[1:]
		return
	}
}

// releaseQuery emits a server's side that waits.
func (c *Collector) releaseQuery(q *querySide, now time.Time) {
	if q.ev != nil {
		c.push(q.ev, now)
		c.queries.bytes -= q.bytes
		q.ev, q.bytes = nil, 0
	}
}

// expireQueries emits the server's sides that have waited long enough and forgets what is old.
func (c *Collector) expireQueries(now time.Time) {
	x := &c.queries
	for _, queue := range []*[]*querySide{&x.brief, &x.long} {
		for len(*queue) > 0 && (c.finished || !now.Before((*queue)[0].until)) {
			q := (*queue)[0]
			(*queue)[0] = nil
			*queue = (*queue)[1:]
			c.releaseQuery(q, now)
			q.until = now.Add(queryMemory)
			x.remembered = append(x.remembered, q)
		}
	}
	for len(x.remembered) > 0 && !now.Before(x.remembered[0].until) {
		x.forget(x.remembered[0])
		x.remembered[0] = nil
		x.remembered = x.remembered[1:]
		x.n--
	}
}

// next returns when the first waiting side is due.
func (x *queries) next() (at time.Time, ok bool) {
	for _, queue := range [][]*querySide{x.brief, x.long} {
		if len(queue) > 0 && (!ok || queue[0].until.Before(at)) {
			at, ok = queue[0].until, true
		}
	}
	return at, ok
}
