package metrics

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// Options are those of a Table.
type Options struct {
	// Pods adds the label pod to the metrics of workloads.
	Pods bool
	// PeerAddresses makes the label peer of flows the address of the other end, of at most TopPeers for each workload,
	// in place of the kind of its address.
	PeerAddresses bool
	TopPeers      int
	// MaxSeries bounds the series, as Prometheus counts them.
	MaxSeries int
	// DCGMCompat adds metrics with the names of dcgm-exporter.
	DCGMCompat bool
}

// Defaults of Options.
const (
	DefaultMaxSeries = 10_000
	DefaultTopPeers  = 20
)

const (
	// maxFlows and maxTracked bound the flows, and the other objects, whose counters are followed.
	maxFlows, maxTracked = 1 << 16, 1 << 15
	// maxLabelBytes bounds a label's value.
	maxLabelBytes = 256
	// seriesLife is how long series live after their last pod.
	seriesLife = time.Minute
	// idlePeer is after how long without traffic a peer's series end.
	idlePeer = 5 * time.Minute
	// closedLife is how long closed flows are kept, since an update may come late.
	closedLife = 15 * time.Second
	// sweepInterval is the time between two rounds that remove what is over.
	sweepInterval = 10 * time.Second
)

// other is the label of what has no series of its own.
var other = []byte("other")

// Table adds up the events of a node. It is safe for concurrent use.
type Table struct {
	now func() time.Time

	mu     sync.Mutex
	o      Options
	rows   map[string]*row
	series int
	of     [numFamilies]struct {
		rows, series int
		folded       uint64
		crowd        crowd
	}

	pods      pods
	flows     flows
	tracked   map[hash]*tracked
	untracked uint64
	lastXID   map[string]uint32
	// summaries: system calls come as summaries, so single ones do not count.
	summaries bool
	time      int64 // of the batch, s since the Unix epoch
	swept     int64
	created   *timestamppb.Timestamp
	// second is the time of the newest row, which rows of the same second share.
	second *timestamppb.Timestamp

	// What follows is reused.
	event, kind, part, end, times message
	numbers                       []uint64
	// candidate is the key of what had no row of its own, in crowd; nil: it has one.
	candidate             hash
	crowd                 *crowd
	subject               subject
	decoded               event.Event
	key, id, label, scope []byte
	hasher                hasher
}

// row are the values with the same labels, of one family.
type row struct {
	family *family
	id     familyID
	key    string
	pairs  []*dto.LabelPair
	owner  *owner // nil: of no workload
	peer   bool   // of one address of the label peer
	// fold: what has no row of its own is counted here.
	fold bool
	// rest: the same for the peers of one workload.
	rest    bool
	gone    bool // removed
	touched int64
	created *timestamppb.Timestamp
	// users is the number of objects that are followed and counted here.
	users  int
	active uint64 // how much has been added lately
	known  uint64
	values []uint64
	hist   *histogram // of a family that is a histogram
}

// NewTable returns an empty Table.
func NewTable(o Options) *Table {
	t := &Table{now: time.Now, rows: map[string]*row{}, tracked: map[hash]*tracked{}, lastXID: map[string]uint32{},
		hasher: newHasher(), created: timestamppb.Now()}
	t.pods.init()
	t.flows.init()
	t.Configure(o)
	return t
}

// Configure puts other options in force. Counters restart where the labels change.
func (t *Table) Configure(o Options) {
	if o.MaxSeries == 0 {
		o.MaxSeries = DefaultMaxSeries
	}
	if o.TopPeers == 0 {
		o.TopPeers = DefaultTopPeers
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if o == t.o {
		return
	}
	for _, r := range t.rows {
		t.remove(r)
	}
	t.o = o
	t.pods.rebuild(o.Pods)
}

// ApplyPods applies an update of the node's pods: series end a minute after the last pod of their workload.
func (t *Table) ApplyPods(update *session.PodUpdate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pods.apply(update, t.now().Unix())
}

// weight is the number of series of a row, as Prometheus counts them.
func (f *family) weight() (n int) {
	for _, m := range f.metrics {
		if m.kind == histogramKind {
			n += len(classicBounds) + 3
		} else {
			n++
		}
	}
	return n
}

// share is the part of all series that one family may have.
func (t *Table) share() int { return t.o.MaxSeries / 2 }

// row returns the row with these labels, after those of the subject; nil: the family is off. Where there is no room, it
// is the one for all others.
func (t *Table) row(id familyID, s *subject, labels ...[]byte) *row {
	if families[id].compat && !t.o.DCGMCompat {
		return nil
	}
	t.beginKey(id)
	if s != nil {
		t.addSubject(s)
	}
	for _, l := range labels {
		t.addLabel(l)
	}
	if r := t.rows[string(t.key)]; r != nil {
		return r
	}
	key := t.hasher.of(t.key)
	if t.room(id) <= 0 || !t.of[id].crowd.admits(key) {
		t.candidate, t.crowd = key, &t.of[id].crowd
		t.crowd.add(key, 1)
		return t.foldRow(id)
	}
	r := t.newRow(id)
	if s != nil {
		r.owner = t.pods.ownerOf(s, t.time)
		r.owner.rows++
	}
	return r
}

// room is the number of rows that a family may still have.
func (t *Table) room(id familyID) int {
	return min(t.o.MaxSeries-t.series, t.share()-t.of[id].series) / families[id].weight()
}

// foldRow returns the row of a family for what has no row of its own.
func (t *Table) foldRow(id familyID) *row {
	t.of[id].folded++
	t.beginKey(id)
	labels := len(t.labelsOf(id))
	for i := range labels {
		// A workload is never called other: it has a kind before its name.
		if families[id].workloads && i == 1 || !families[id].workloads && i == 0 {
			t.addLabel(other)
		} else {
			t.addLabel(nil)
		}
	}
	r := t.rows[string(t.key)]
	if r == nil {
		r = t.newRow(id)
		r.fold = true
	}
	return r
}

func (t *Table) beginKey(id familyID) { t.key = append(t.key[:0], byte(id)) }

// addLabel appends a label's value to the key, as it will be exposed: valid UTF-8 and not too long.
func (t *Table) addLabel(value []byte) {
	if len(value) > maxLabelBytes || !utf8.Valid(value) {
		value = safeLabel(value)
	}
	t.key = append(binary.LittleEndian.AppendUint16(t.key, uint16(len(value))), value...)
}

// safeLabel returns a label's value that Prometheus accepts.
func safeLabel(value []byte) []byte {
	if len(value) > 2*maxLabelBytes {
		value = value[:2*maxLabelBytes]
	}
	s := strings.ToValidUTF8(string(value), "\uFFFD")
	if len(s) > maxLabelBytes {
		n := maxLabelBytes
		for !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return []byte(s)
}

// addSubject appends the labels of a workload, or pod.
func (t *Table) addSubject(s *subject) {
	t.addLabel(s.namespace)
	t.addLabel(s.workload)
	if t.o.Pods {
		t.addLabel(s.pod)
	}
}

// labelsOf returns the names of a family's labels.
func (t *Table) labelsOf(id familyID) []string {
	f := &families[id]
	if !f.workloads || !t.o.Pods {
		return f.labels
	}
	return slices.Concat(f.labels[:2], []string{"pod"}, f.labels[2:])
}

// newRow makes the row of the key.
func (t *Table) newRow(id familyID) *row {
	f := &families[id]
	if t.second.GetSeconds() != t.time {
		t.second = &timestamppb.Timestamp{Seconds: t.time}
	}
	r := &row{family: f, id: id, key: string(t.key), touched: t.time, created: t.second}
	rest := r.key[1:]
	for _, name := range t.labelsOf(id) {
		n := int(rest[0]) | int(rest[1])<<8
		if n > 0 { // Prometheus takes an empty label for none
			r.pairs = append(r.pairs, &dto.LabelPair{Name: new(name), Value: new(rest[2 : 2+n])})
		}
		rest = rest[2+n:]
	}
	slices.SortFunc(r.pairs, comparePairs)
	if f.metrics[0].kind == histogramKind {
		r.hist = &histogram{}
	} else {
		r.values = make([]uint64, len(f.metrics))
	}
	t.rows[r.key] = r
	t.series += f.weight()
	t.of[id].rows++
	t.of[id].series += f.weight()
	return r
}

func (t *Table) remove(r *row) {
	delete(t.rows, r.key)
	r.gone = true
	if r.owner != nil {
		r.owner.rows--
		if r.peer {
			r.owner.peers--
		}
	}
	t.series -= r.family.weight()
	t.of[r.id].rows--
	t.of[r.id].series -= r.family.weight()
}

// add adds to a value.
func (r *row) add(i int, n uint64) {
	r.values[i] += n
	r.known |= 1 << i
	r.active += n
}

// set sets a value.
func (r *row) set(i int, n uint64) {
	r.values[i] = n
	r.known |= 1 << i
}

// sweep removes what is over.
func (t *Table) sweep() {
	now := t.now().Unix()
	if now-t.swept < int64(sweepInterval/time.Second) {
		return
	}
	t.swept = now
	t.flows.sweep(t, now)
	for id, s := range t.tracked {
		if idle := now - s.seen; idle > int64(seriesLife/time.Second) && (s.pod == nil || s.pod.gone) {
			s.leave()
			delete(t.tracked, id)
		}
	}
	for _, r := range t.rows {
		if r.over(now) {
			t.remove(r)
		}
	}
	t.makeRoom()
	t.pods.sweep()
}

// over reports whether a row has had its time.
func (r *row) over(now int64) bool {
	const life, peerLife = int64(seriesLife / time.Second), int64(idlePeer / time.Second)
	switch {
	case r.fold:
		return false
	case r.owner != nil && r.owner.pods > 0:
		return r.peer && r.users == 0 && now-r.touched > peerLife
	case r.owner != nil:
		return now-max(r.touched, r.owner.gone) > life
	case r.id == famLost || r.id == famEvents || r.id == famGPUXID:
		return false
	}
	return now-r.touched > life
}

// makeRoom lets rows with much traffic take the place of those with the least, where there is not room for all.
func (t *Table) makeRoom() {
	byFamily, byOwner := map[familyID][]*row{}, map[*owner][]*row{}
	for _, r := range t.rows {
		switch {
		case r.fold || r.rest:
		case r.peer && r.owner.crowd != nil:
			byOwner[r.owner] = append(byOwner[r.owner], r)
		case t.of[r.id].crowd.folded > 0:
			byFamily[r.id] = append(byFamily[r.id], r)
		}
	}
	for o, rows := range byOwner {
		t.removeAll(o.crowd.settle(t.o.TopPeers-o.peers, rows))
		if !o.crowd.on {
			o.crowd = nil
		}
	}
	for id := range numFamilies {
		if c := &t.of[id].crowd; c.on || c.folded > 0 {
			t.removeAll(c.settle(t.room(id), byFamily[id]))
		}
	}
	for _, r := range t.rows {
		r.active /= 2
	}
}

func (t *Table) removeAll(rows []*row) {
	for _, r := range rows {
		t.remove(r)
	}
}

func comparePairs(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) }
