package server

import (
	"math"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// requestsShare is the part of the Go heap's limit that requests may hold together. The rest is for the names of
	// the cluster's pods, connections, and garbage.
	requestsShare = 2
	// userShare is the part of that which the requests of one user may hold.
	userShare = 2
	// unlimitedMemory is what requests may hold where the heap has no limit, minMemory the least.
	unlimitedMemory = 256 << 20
	minMemory       = 16 << 20
	// requestMemory is reserved for each request, and for each agent that it reads from streamMemory, what a stream
	// takes, and a window.
	requestMemory = 512 << 10
	streamMemory  = 16 << 10
	// aheadMemory is what the agents of a request may send ahead together: each a window, within minWindow and
	// maxWindow. It is about what 1,000 of them gather twice.
	aheadMemory          = 12 << 20
	minWindow, maxWindow = 4 << 10, 128 << 10
	// memoryStep: memory is taken from the limit in such steps.
	memoryStep = 64 << 10
)

// memory limits what all requests hold together, approximate bytes.
type memory struct {
	limit, userLimit int

	mu     sync.Mutex
	held   int
	heldOf map[string]int // by user
}

// newMemory returns a limit of bytes; 0: a part of the Go heap's own limit (GOMEMLIMIT).
func newMemory(limit int) *memory {
	if limit == 0 {
		limit = memoryOf(debug.SetMemoryLimit(-1))
	}
	return &memory{limit: limit, userLimit: limit / userShare, heldOf: map[string]int{}}
}

// memoryOf is what requests may hold where the Go heap has a limit.
func memoryOf(heapLimit int64) int {
	if heapLimit == math.MaxInt64 {
		return unlimitedMemory
	}
	return int(max(heapLimit/requestsShare, minMemory))
}

// part is what a request holds memory for.
type part int

const (
	// partMerge is held to join flows and to order events, partQueue for a client that reads slowly, partAnswer for
	// the newest events of a query, partSums for sums of flows, partBatches for what agents have sent and the merge
	// does not take yet, partStored for the newest events of the history store.
	partMerge part = iota
	partQueue
	partAnswer
	partSums
	partBatches
	partStored
	partCount
)

// share is the memory of one request.
type share struct {
	memory *memory
	user   string
	// window is what each agent may send ahead.
	window int

	// Guarded by memory.mu, except that only one goroutine at a time changes an element of parts, which may read it.
	parts    [partCount]int
	held     int
	agents   int // for which memory is reserved
	reserved int // to its end
}

// windowOf is what each agent of a request may send ahead.
func windowOf(agents int) int { return min(max(aheadMemory/max(agents, 1), minWindow), maxWindow) }

// open reserves the memory of a request that reads from agents.
func (m *memory) open(user string, agents int) (*share, error) {
	s := &share{memory: m, user: user, window: windowOf(agents), reserved: requestMemory}
	s.addAgents(agents)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.refusal(user, s.reserved); err != nil {
		return nil, err
	}
	s.set(s.reserved)
	return s, nil
}

// addAgents reserves the memory of further agents. The lock is held, or nobody else knows the share.
func (s *share) addAgents(n int) {
	s.agents += n
	s.reserved += n * (streamMemory + s.window)
}

// reserve reserves the memory of agents, of which some came after the request.
func (s *share) reserve(agents int) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.addAgents(max(agents-s.agents, 0))
	s.set(max(s.sum(), s.reserved))
}

// refusal is the error of a user's request for more; nil: it may have that. The lock is held.
func (m *memory) refusal(user string, more int) error {
	switch {
	case m.held+more > m.limit:
		return status.Errorf(codes.ResourceExhausted, "this server holds %d MiB for requests, and may hold %d MiB: "+
			"try again later, or select a shorter time or fewer pods", m.held>>20, m.limit>>20)
	case m.heldOf[user]+more > m.userLimit:
		return status.Errorf(codes.ResourceExhausted, "this server holds %d MiB for your requests, and may hold "+
			"%d MiB for one user: end another request, or select a shorter time or fewer pods", m.heldOf[user]>>20,
			m.userLimit>>20)
	}
	return nil
}

// set sets what the request holds. The lock is held.
func (s *share) set(held int) {
	s.memory.held += held - s.held
	s.memory.heldOf[s.user] += held - s.held
	s.held = held
	if s.memory.heldOf[s.user] == 0 {
		delete(s.memory.heldOf, s.user)
	}
}

// close gives the memory back.
func (s *share) close() {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.parts = [partCount]int{}
	s.set(0)
}

// tryHold sets the memory of a part, unless that is more than the request may have.
func (s *share) tryHold(p part, bytes int) error {
	bytes = steps(bytes)
	if bytes == s.parts[p] {
		return nil
	}
	return s.change(p, bytes, false)
}

// hold sets the memory of a part that is held already. Its error is that of a request that holds too much.
func (s *share) hold(p part, bytes int) error { return s.change(p, steps(bytes), true) }

func steps(bytes int) int { return (bytes + memoryStep - 1) / memoryStep * memoryStep }

func (s *share) change(p part, bytes int, always bool) error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	sum := s.sum() - s.parts[p] + bytes
	held := max(sum, s.reserved)
	var err error
	// What was reserved is the request's in any case.
	if sum > s.reserved && (held > s.held || always) {
		err = s.memory.refusal(s.user, held-s.held)
	}
	if err == nil || always {
		s.setPart(p, bytes)
	}
	return err
}

// add adds to a part that several goroutines change.
func (s *share) add(p part, bytes int) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.setPart(p, s.parts[p]+bytes)
}

// setPart sets what a part holds. The lock is held.
func (s *share) setPart(p part, bytes int) {
	s.parts[p] = bytes
	s.set(max(s.sum(), s.reserved))
}

// sum is what all parts hold. The lock is held.
func (s *share) sum() (n int) {
	for _, bytes := range s.parts {
		n += bytes
	}
	return n
}
