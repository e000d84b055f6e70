package session

import (
	"encoding/json"
	"fmt"
	"strings"
)

// readyPrefix opens the one line of a tracer's log that a viewer looks for.
const readyPrefix = "orb8-ready "

// Ready is what a tracer announces in its log once it listens.
type Ready struct {
	Protocol uint32 `json:"protocol"`
	Version  string `json:"version"`
	// Key is the tracer's public key.
	Key string `json:"key"`
	// Instance is random and made at start, as in Welcome.
	Instance uint64 `json:"instance,string"`
}

// Line is the log line that announces r, without a line feed.
func (r Ready) Line() string {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // four plain fields always marshal
	}
	return readyPrefix + string(b)
}

// ParseReady reads one log line. ok reports whether the line is a ready line at all; err, whether it is a broken one.
func ParseReady(line string) (r Ready, key PublicKey, ok bool, err error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(line), readyPrefix)
	if !ok {
		return r, key, false, nil
	}
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		return r, key, true, fmt.Errorf("ready line: %w", err)
	}
	key, err = ParsePublicKey(r.Key)
	if err != nil {
		return r, key, true, fmt.Errorf("ready line: %w", err)
	}
	return r, key, true, nil
}
