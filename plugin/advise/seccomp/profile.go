// Package seccomp turns observed system calls into seccomp profiles of the Open Container Initiative, and compares
// profiles with them.
package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Profile is the object LinuxSeccomp of the OCI's runtime specification, which the files of localhost profiles hold.
// Its types are not taken from that module: they would be all that orb8 takes of it.
type Profile struct {
	DefaultAction   Action   `json:"defaultAction"`
	DefaultErrnoRet *uint    `json:"defaultErrnoRet,omitempty"`
	Architectures   []string `json:"architectures,omitempty"`
	Syscalls        []Rule   `json:"syscalls,omitempty"`

	// What follows is read of the profiles of others, and not written.

	// ArchMap is Docker's form of Architectures.
	ArchMap          []archMap       `json:"archMap,omitempty"`
	Flags            []string        `json:"flags,omitempty"`
	ListenerPath     string          `json:"listenerPath,omitempty"`
	ListenerMetadata string          `json:"listenerMetadata,omitempty"`
	Comment          json.RawMessage `json:"comment,omitempty"`
}

type archMap struct {
	Architecture     string   `json:"architecture"`
	SubArchitectures []string `json:"subArchitectures"`
}

// Rule is what happens to calls of some names, if all of its arguments match.
type Rule struct {
	Names    []string `json:"names"`
	Action   Action   `json:"action"`
	ErrnoRet *uint    `json:"errnoRet,omitempty"`
	Args     []Arg    `json:"args,omitempty"`

	// These are Docker's: the runtimes that read OCI profiles do not know them, and apply the rule everywhere.
	Name     string          `json:"name,omitempty"`
	Includes json.RawMessage `json:"includes,omitempty"`
	Excludes json.RawMessage `json:"excludes,omitempty"`
	Comment  json.RawMessage `json:"comment,omitempty"`
}

// Arg is a condition on an argument.
type Arg struct {
	Index    uint   `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo,omitempty"`
	Op       string `json:"op"`
}

// Action is what happens to a call.
type Action string

const (
	actionAllow Action = "SCMP_ACT_ALLOW"
	actionErrno Action = "SCMP_ACT_ERRNO"
)

// actions are those of the specification, and whether the call is made.
var actions = map[Action]bool{
	actionAllow: true, "SCMP_ACT_LOG": true, "SCMP_ACT_TRACE": true, "SCMP_ACT_NOTIFY": true,
	actionErrno: false, "SCMP_ACT_KILL": false, "SCMP_ACT_KILL_PROCESS": false, "SCMP_ACT_KILL_THREAD": false,
	"SCMP_ACT_TRAP": false,
}

// operators compare an argument with a value.
var operators = []string{"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
	"SCMP_CMP_MASKED_EQ"}

// maxProfile bounds the size of a profile in bytes.
const maxProfile = 1 << 20

// Parse reads a profile. Errors have the line and the column, or the path of the field.
func Parse(data []byte) (*Profile, error) {
	if len(data) > maxProfile {
		return nil, fmt.Errorf("it has more than %d bytes", maxProfile)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var p Profile
	if err := d.Decode(&p); err != nil {
		return nil, located(data, d.InputOffset(), err)
	}
	end := d.InputOffset()
	if rest := bytes.TrimSpace(data[end:]); len(rest) > 0 {
		end = int64(len(data) - len(bytes.TrimLeft(data[end:], " \t\r\n")))
		return nil, fmt.Errorf("%s: want the end of the file after the profile", position(data, end))
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	for _, a := range p.ArchMap {
		p.Architectures = append(append(p.Architectures, a.Architecture), a.SubArchitectures...)
	}
	for i := range p.Syscalls {
		if r := &p.Syscalls[i]; r.Name != "" {
			r.Names = append(r.Names, r.Name)
		}
	}
	return &p, nil
}

func located(data []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		// The offset is one past the byte that is wrong.
		return fmt.Errorf("%s: %w", position(data, syntax.Offset-1), err)
	case errors.As(err, &wrong):
		return fmt.Errorf("%s: %s is %s, want %s", position(data, wrong.Offset-1), wrong.Field, wrong.Value,
			wantedType(wrong))
	case errors.Is(err, io.EOF) && len(bytes.TrimSpace(data)) == 0:
		return errors.New("it is empty: want an object with defaultAction")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the file ends within the profile", position(data, int64(len(data))))
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		if at := bytes.Index(data, []byte(field)); at >= 0 {
			offset = int64(at)
		}
		return fmt.Errorf("%s: unknown field %s", position(data, offset), field)
	}
	return fmt.Errorf("%s: %w", position(data, offset), err)
}

func wantedType(err *json.UnmarshalTypeError) string {
	switch name := err.Type.Kind().String(); name {
	case "slice":
		return "a list"
	case "struct":
		return "an object"
	case "uint", "uint64":
		return "a number of 0 or more"
	default:
		return "a " + name
	}
}

// position is that of a byte: "line 3, column 7".
func position(data []byte, offset int64) string {
	before := data[:max(0, min(int64(len(data)), offset))]
	return fmt.Sprintf("line %d, column %d", bytes.Count(before, []byte("\n"))+1,
		len(before)-bytes.LastIndexByte(before, '\n'))
}

// check returns an error for what a runtime would refuse.
func (p *Profile) check() error {
	if p.DefaultAction == "" {
		return errors.New("defaultAction is missing")
	}
	if err := p.DefaultAction.check("defaultAction"); err != nil {
		return err
	}
	for i, name := range p.Architectures {
		if !strings.HasPrefix(name, "SCMP_ARCH_") {
			return fmt.Errorf("architectures[%d]: %q is no architecture: want SCMP_ARCH_X86_64, "+
				"SCMP_ARCH_AARCH64, …", i, name)
		}
	}
	for i := range p.Syscalls {
		r, at := &p.Syscalls[i], fmt.Sprintf("syscalls[%d]", i)
		if len(r.Names) == 0 && r.Name == "" || slices.Contains(r.Names, "") {
			return fmt.Errorf("%s.names: want the names of system calls", at)
		}
		if err := r.Action.check(at + ".action"); err != nil {
			return err
		}
		for j, a := range r.Args {
			if a.Index > 5 {
				return fmt.Errorf("%s.args[%d].index: %d is no argument: want 0 to 5", at, j, a.Index)
			}
			if !slices.Contains(operators, a.Op) {
				return fmt.Errorf("%s.args[%d].op: %q is no operator: want one of %s", at, j, a.Op,
					strings.Join(operators, ", "))
			}
		}
	}
	return nil
}

func (a Action) check(field string) error {
	if _, ok := actions[a]; ok {
		return nil
	}
	return fmt.Errorf("%s: %q is no action: want SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_LOG, …", field, string(a))
}
