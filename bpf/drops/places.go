package drops

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// maxPlaces bounds the places that are remembered; a kernel drops packets in some hundreds.
const maxPlaces = 4096

// places are the kernel's functions by the addresses in them.
type places struct {
	// open returns what the kernel prints of the places of all drops there are.
	open  func() (io.ReadCloser, error)
	names map[uint64]string
}

// name is the kernel's function, "nf_hook_slow" or "tun_net_xmit [tun]", else the address.
func (p *places) name(location uint64) (string, error) {
	if s, ok := p.names[location]; ok {
		return s, nil
	}
	if p.names == nil || len(p.names) >= maxPlaces {
		p.names = map[uint64]string{}
	}
	if err := p.read(); err != nil {
		return "", fmt.Errorf("name the places of drops: %w", err)
	}
	s, ok := p.names[location]
	if !ok {
		s = "0x" + strconv.FormatUint(location, 16)
		p.names[location] = s
	}
	return s, nil
}

func (p *places) read() error {
	r, err := p.open()
	if err != nil {
		return err
	}
	defer r.Close()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if location, name, ok := parsePlace(lines.Bytes()); ok {
			p.names[location] = name
		}
	}
	return lines.Err()
}

// parsePlace reads a line such as "ffffffffc0123456 tun_net_xmit+0x1c/0x30 [tun]". A place that the kernel cannot
// name has only its address twice.
func parsePlace(line []byte) (location uint64, name string, ok bool) {
	number, symbol, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return 0, "", false
	}
	location, err := strconv.ParseUint(string(number), 16, 64)
	if err != nil {
		return 0, "", false
	}
	function, rest, ok := bytes.Cut(symbol, []byte{'+'})
	if !ok || len(function) == 0 {
		return 0, "", false
	}
	if _, module, ok := bytes.Cut(rest, []byte{' '}); ok {
		function = append(append(bytes.Clone(function), ' '), module...)
	}
	return location, strings.ToValidUTF8(string(function), "\ufffd"), true
}

// printed has the kernel print the place of each drop there is, one by one: for kernels that let no program iterate
// over a map.
func (p *Probe) printed() (io.ReadCloser, error) {
	var (
		all   bytes.Buffer
		key   objectDropKey
		drop  objectDrop
		asked = map[uint64]bool{}
	)
	drops := p.objects.Drops.Iterate()
	for drops.Next(&key, &drop) {
		if asked[key.Location] || len(asked) >= maxPlaces {
			continue
		}
		asked[key.Location] = true
		if _, err := p.objects.DropsPlaces.Run(&ebpf.RunOptions{Context: [1]uint64{key.Location}}); err != nil {
			return nil, fmt.Errorf("run %s: %w", p.objects.DropsPlaces, err)
		}
		var line [256]byte
		if err := p.objects.PlaceLine.Lookup(uint32(0), &line); err != nil {
			return nil, fmt.Errorf("read %s: %w", p.objects.PlaceLine, err)
		}
		all.Write(bpf.Text(line[:]))
	}
	// Others come and go meanwhile: what was skipped is read with its next drop.
	if err := drops.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, err
	}
	return io.NopCloser(&all), nil
}
