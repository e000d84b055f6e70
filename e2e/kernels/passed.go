package kernels

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/e2e/kernels/console"
	"github.com/orb8-dev/kubectl-orb8/internal/wholefile"
)

// passedSteps are the steps that have passed, in the cache. A machine is emulated and has no network: the same programs
// with the same arguments do the same on the same kernel, and are not run again. Most changes leave most of the
// programs as they are, since they are built without paths and revisions.
type passedSteps struct{ dir string }

// keyOf identifies a step: the machine, the line of the plan, the program and the other files and folders.
func keyOf(machine, line, program string, others ...string) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q\n", machine, line)
	for _, path := range append([]string{program}, others...) {
		if _, err := os.Stat(path); os.IsNotExist(err) {
			continue // there are no fakes without a compiler
		}
		err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			rel, err := filepath.Rel(filepath.Dir(path), file)
			if err != nil {
				return err
			}
			info, err := f.Stat()
			if err != nil {
				return err
			}
			fmt.Fprintf(sum, "%q %d\n", rel, info.Size())
			_, err = io.Copy(sum, f)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// get returns a step that has passed.
func (p passedSteps) get(key string) (s console.Step, ok bool) {
	b, err := os.ReadFile(filepath.Join(p.dir, key))
	return s, err == nil && json.Unmarshal(b, &s) == nil && s.Ended && s.Code == 0
}

// put keeps a step.
func (p passedSteps) put(key string, s console.Step) error {
	if !s.Ended || s.Code != 0 {
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	return wholefile.Write(filepath.Join(p.dir, key), 0o600, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// plannedStep is a line of the plan.
type plannedStep struct{ name, line, program, key string }

// plan is the steps of a machine, the doctor first.
type plan []plannedStep

// pending returns those that have not passed before, and the others' results by their names.
func (p plan) pending(kept passedSteps) (left plan, passed map[string]console.Step) {
	passed = map[string]console.Step{}
	for _, s := range p {
		if step, ok := kept.get(s.key); ok {
			passed[s.name] = step
		} else {
			left = append(left, s)
		}
	}
	return left, passed
}

func (p plan) String() string {
	var all strings.Builder
	for _, s := range p {
		all.WriteString(s.line + "\n")
	}
	return all.String()
}
