package pods

import "fmt"

// failures keeps the first of many errors that are as a rule the same, and counts the rest.
type failures struct {
	first error
	more  int
}

func (f *failures) add(err error) {
	switch {
	case err == nil:
	case f.first == nil:
		f.first = err
	default:
		f.more++
	}
}

func (f *failures) err() error {
	if f.more == 0 {
		return f.first
	}
	return fmt.Errorf("%w (and %d more)", f.first, f.more)
}
