package bpf

import (
	"io"
	"reflect"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Program is a loaded program and what the kernel's verifier did for it.
type Program struct {
	Name string
	// Instructions is how many the verifier processed on all paths: what loading costs, and what the kernel bounds
	// (verified_insns of bpf_prog_info, Linux 5.16); 0: unknown.
	Instructions uint32

	program *ebpf.Program
}

// Cost returns how long the program has run so far, over all CPUs, and how often. Both are 0 unless the kernel counts
// them.
func (p *Program) Cost() (ran time.Duration, runs uint64) {
	stats, err := p.program.Stats()
	if err != nil {
		return 0, 0
	}
	return stats.Runtime, stats.RunCount
}

// CountCost makes the kernel count how long and how often each BPF program on the node runs, until the result is
// closed. That needs CAP_SYS_ADMIN, and takes some 20 ns a run.
func CountCost() (io.Closer, error) { return ebpf.EnableStats(unix.BPF_STATS_RUN_TIME) }

// Programs are those of a struct as bpf2go writes them: fields of type *ebpf.Program, in it or in structs it embeds,
// tagged with their names.
func Programs(objects any) (programs []Program) {
	eachField(objects, func(name string, p *ebpf.Program) {
		loaded := Program{Name: name, program: p}
		if info, err := p.Info(); err == nil {
			loaded.Instructions, _ = info.VerifiedInstructions()
		}
		programs = append(programs, loaded)
	})
	return programs
}

// eachField calls do with the fields of type *T of a pointer to a struct, in structs it embeds too, and with their
// tags. It skips nil.
func eachField[T any](objects any, do func(name string, p *T)) {
	fieldsIn(reflect.ValueOf(objects).Elem(), do)
}

func fieldsIn[T any](v reflect.Value, do func(name string, p *T)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous && field.Type.Kind() == reflect.Struct {
			fieldsIn(v.Field(i), do)
			continue
		}
		if field.Type == reflect.TypeFor[*T]() && !v.Field(i).IsNil() {
			do(field.Tag.Get("ebpf"), v.Field(i).Interface().(*T))
		}
	}
}
