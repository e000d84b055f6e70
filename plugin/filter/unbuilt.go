package filter

import (
	"errors"

	"github.com/orb8-dev/kubectl-orb8/event"
)

type compiled struct{}

func compile(string, []*event.Kind) (*Filter, error) { return nil, errors.ErrUnsupported }

func (f *Filter) match(*event.Event) (bool, error) { return false, errors.ErrUnsupported }

func (e *Error) Error() string { return e.Message }
