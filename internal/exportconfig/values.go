package exportconfig

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Updates is the longest time from a change of a living flow to its record.
type Updates time.Duration

// UpdatesAll exports every update of a flow.
const UpdatesAll Updates = -1

// ParseUpdates reads "all" or a duration. What is less than a nanosecond is refused: 0 is the default.
func ParseUpdates(s string) (Updates, error) {
	if s == UpdatesAll.String() {
		return UpdatesAll, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, &Error{"updates", s, "all, or a duration"}
	}
	return Updates(d), nil
}

// String is the value as a configuration has it.
func (u Updates) String() string {
	if u == UpdatesAll {
		return "all"
	}
	return time.Duration(u).String()
}

// MarshalJSON writes the value as a configuration has it.
func (u Updates) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

// UnmarshalJSON reads the value of a configuration.
func (u *Updates) UnmarshalJSON(text []byte) (err error) {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return &Error{"updates", string(text), "all, or a duration"}
	}
	*u, err = ParseUpdates(s)
	return err
}

// Size is a number of bytes, written as a number or as 4Mi.
type Size int64

// String is the number.
func (s Size) String() string { return strconv.FormatInt(int64(s), 10) }

// UnmarshalJSON reads a quantity. 0 is refused: it is the default.
func (s *Size) UnmarshalJSON(text []byte) error {
	value := strings.Trim(string(text), `"`)
	q, err := resource.ParseQuantity(value)
	if err != nil || q.Value() <= 0 {
		return &Error{"queueBytes, batchBytes", value, "a number of bytes such as 4Mi"}
	}
	*s = Size(q.Value())
	return nil
}
