// Command lima validates templates of Lima's virtual machines with Lima's own code, and without limactl, which refuses
// to run as root. It is a module of its own, so that the plugin's module does not depend on Lima.
//
//	cd hack/lima && go run . orb8.yaml
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/lima-vm/lima/pkg/limayaml"
	"github.com/lima-vm/lima/pkg/version"
	"github.com/sirupsen/logrus"
)

func main() {
	version.Version = limaVersion()
	logrus.SetOutput(io.Discard) // warnings are errors here
	for _, path := range os.Args[1:] {
		if err := validate(path); err != nil {
			fmt.Fprintf(os.Stderr, "lima: %s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

// limaVersion is the version of Lima in go.mod, which a template's minimumLimaVersion is compared with.
func limaVersion() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/lima-vm/lima" {
				return strings.TrimPrefix(m.Version, "v")
			}
		}
	}
	return "0.0.0"
}

// warnings collects what Lima warns about, such as unknown fields.
type warnings struct{ errs []error }

func (w *warnings) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }

func (w *warnings) Fire(e *logrus.Entry) error {
	w.errs = append(w.errs, fmt.Errorf("%s: %v", e.Message, e.Data[logrus.ErrorKey]))
	return nil
}

func validate(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	w := &warnings{}
	logrus.AddHook(w)
	template, err := limayaml.Load(text, path)
	if err != nil {
		return err
	}
	return errors.Join(append(w.errs, limayaml.Validate(template, true))...)
}
