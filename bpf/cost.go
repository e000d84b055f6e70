package bpf

import (
	"reflect"

	"github.com/cilium/ebpf"
)

// Program is a loaded program and what the kernel's verifier did for it.
type Program struct {
	Name string
	// Instructions is how many the verifier looked at until it knew all paths: what loading costs, and what the kernel bounds (verified_insns of bpf_prog_info,
	// Linux 5.16). 0 where the kernel does not tell.
	Instructions uint32
}

// Programs are those of a struct as bpf2go writes them: fields of type *ebpf.Program, in it or in structs it embeds, tagged with their names.
func Programs(objects any) (programs []Program) {
	walkPrograms(reflect.ValueOf(objects).Elem(), &programs)
	return programs
}

func walkPrograms(v reflect.Value, programs *[]Program) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous && field.Type.Kind() == reflect.Struct {
			walkPrograms(v.Field(i), programs)
			continue
		}
		if field.Type != reflect.TypeFor[*ebpf.Program]() || v.Field(i).IsNil() {
			continue
		}
		p := Program{Name: field.Tag.Get("ebpf")}
		// bpf2go's fields are exported, and so are those of the structs that are written by hand for a part of them.
		if info, err := v.Field(i).Interface().(*ebpf.Program).Info(); err == nil {
			p.Instructions, _ = info.VerifiedInstructions()
		}
		*programs = append(*programs, p)
	}
}
