package history

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// openLogged opens a history in a directory. The log is complete when the history is closed.
func openLogged(t *testing.T, dir string) (*Rolling, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	r, err := OpenRolling(RollingOptions{Dir: dir, Node: "n1", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return r, &log
}

func closeRolling(t *testing.T, r *Rolling) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// perBlock is how many events a block of these tests has.
const perBlock = 5

// written returns a directory with a segment of some blocks, the path of the segment, and the events.
func written(t *testing.T, blocks int) (dir, path string, all [][]byte) {
	t.Helper()
	dir = t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := openRolling(t, RollingOptions{Dir: dir, Node: "n1"})
		all = blocksOf(t, r, blocks, perBlock)
	})
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v: want one segment", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want a file that only its owner may read", info, err)
	}
	return dir, files[0], all
}

// TestSegment_CutAtAnyByte opens a history whose segment was cut at each byte: what was whole is there, and what is
// appended then, too.
func TestSegment_CutAtAnyByte(t *testing.T) {
	_, path, all := written(t, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	longest := 0
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		r, _ := openLogged(t, dir)
		got, _ := queryAll(t, r, Selection{})
		if sameEvents(t, got, all[:len(got)]); len(got)%perBlock != 0 {
			t.Fatalf("cut at %d: %d events, want whole blocks", cut, len(got))
		}
		longest = max(longest, len(got))
		closeRolling(t, r)
		if cut%50 != 0 {
			continue
		}
		for range 2 { // with a segment of another process, and another one
			r, _ = openLogged(t, dir)
			r.Append(all[:3])
			after, _ := queryAll(t, r, Selection{})
			got = append(got, all[:3]...)
			sameEvents(t, after, got)
			closeRolling(t, r)
		}
		for _, name := range segmentsOf(t, dir) {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if longest != len(all) {
		t.Errorf("%d events of the whole segment, want %d", longest, len(all))
	}
}

func segmentsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.orb8"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestSegment_DamagedAtAnyByte changes each byte of a segment.
func TestSegment_DamagedAtAnyByte(t *testing.T) {
	_, path, all := written(t, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for at := range whole {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x10
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r, log := openLogged(t, dir)
		got, _ := queryAll(t, r, Selection{})
		second, _ := queryAll(t, r, Selection{})
		closeRolling(t, r)
		if sameEvents(t, second, got); len(got) >= len(all) || len(got)%perBlock != 0 {
			t.Fatalf("byte %d: %d events", at, len(got))
		}
		for len(got) > 0 {
			i := slices.IndexFunc(all, func(ev []byte) bool { return bytes.Equal(ev, got[0]) })
			if i < 0 {
				t.Fatalf("byte %d: an event that was not appended", at)
			}
			sameEvents(t, got[:perBlock], all[i:i+perBlock])
			got = got[perBlock:]
		}
		if strings.Count(log.String(), "\n") != 1 {
			t.Fatalf("byte %d is logged as: %s", at, log)
		}
	}
}

func TestDirectory_WithForeignFiles(t *testing.T) {
	dir, path, all := written(t, 2)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	name := func(n int) string { return filepath.Join(dir, fmt.Sprintf("%016x.orb8", n)) }
	for _, err := range []error{
		os.WriteFile(outside, whole, 0o600),
		os.Symlink(outside, name(10)),
		makePipe(name(11)),
		os.Mkdir(name(12), 0o700),
		os.WriteFile(name(13), nil, 0o600),
		os.WriteFile(name(14), []byte("another file"), 0o600),
		os.WriteFile(name(15), bytes.Replace(whole, []byte(segmentMagic), []byte(magic), 1), 0o600),
		os.Truncate(name(14), 100<<20),
		os.WriteFile(filepath.Join(dir, "ffffffffffffffff.orb8"), whole, 0o600),
		os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("not mine"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r, log := openLogged(t, dir)
	got, _ := queryAll(t, r, Selection{})
	sameEvents(t, got, all)
	r.Append(all[:1])
	closeRolling(t, r)
	want := []string{path, name(16)}
	if files := segmentsOf(t, dir); !slices.Equal(files, want) {
		t.Errorf("%v, want %v", files, want)
	}
	if strings.Count(log.String(), "is removed") != 7 {
		t.Errorf("logged: %s", log)
	}
	for _, kept := range []string{outside, filepath.Join(dir, "notes.txt")} {
		if _, err := os.Stat(kept); err != nil {
			t.Error(err)
		}
	}
	// Another node has another history.
	r, err = OpenRolling(RollingOptions{Dir: dir, Node: "n2"})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Status(); s.Events != 0 {
		t.Errorf("%+v: events of another node", s)
	}
	closeRolling(t, r)
}

// TestDirectory_IsBounded appends more than a directory may hold. Events that memory has no room for come from disk.
func TestDirectory_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		o := RollingOptions{MemoryBytes: MinMemoryBytes, Dir: dir, DirBytes: MinDirBytes}
		r := openRolling(t, o)
		noise := newTraffic(1, 1, 0).random
		var times []uint64
		for i := range 120 {
			for range 4 {
				large := make([]byte, 60<<10)
				for i := range large {
					large[i] = byte(noise.Uint32())
				}
				b, err := proto.Marshal(&event.Event{Time: uint64(i + 1), Kind: &event.Event_Exec{
					Exec: &event.Exec{Args: large}}})
				if err != nil {
					t.Fatal(err)
				}
				r.Append([][]byte{b})
				times = append(times, uint64(i+1))
			}
			synctest.Wait()
			s := r.Status()
			files := int64(0)
			for _, name := range segmentsOf(t, dir) {
				info, err := os.Stat(name)
				if err != nil {
					t.Fatal(err)
				}
				files += info.Size()
			}
			if s.DiskBytes != files || files > s.DiskLimitBytes || s.Bytes > s.LimitBytes {
				t.Fatalf("%+v, files of %d bytes", s, files)
			}
		}
		check := func() {
			t.Helper()
			s := r.Status()
			var got []uint64
			if _, err := r.Query(t.Context(), Selection{}, func(ev []byte) error {
				got = append(got, scanHeader(ev).time)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if len(got) < 200 || uint64(len(got)) != s.Events || !slices.Equal(got, times[len(times)-len(got):]) ||
				s.Oldest != got[0] {
				t.Errorf("%d events, %+v", len(got), s)
			}
		}
		check()
		closeRolling(t, r)
		r = openRolling(t, o)
		check()
	})
}

// TestRolling_SealsOldEvents appends a few events, which are on disk after a while, though no more come.
func TestRolling_SealsOldEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := openRolling(t, RollingOptions{Dir: dir})
		events := newTraffic(5, 10, 0).round(t)
		r.Append(events)
		time.Sleep(sealInterval)
		synctest.Wait()
		copied := t.TempDir()
		for _, name := range segmentsOf(t, dir) { // as a process that was killed leaves it
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(copied, filepath.Base(name)), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		killed := openRolling(t, RollingOptions{Dir: copied})
		got, _ := queryAll(t, killed, Selection{})
		sameEvents(t, got, events)
	})
}

// TestRolling_OutlivesItsDirectory takes the directory away: the history goes on in memory, and on disk when it can.
func TestRolling_OutlivesItsDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "history")
		r, log := openLogged(t, dir)
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 { // whom a mode does not stop
			r.disk.node = strings.Repeat("x", maxAbout+1)
		}
		all := blocksOf(t, r, 3, 50)
		got, _ := queryAll(t, r, Selection{})
		sameEvents(t, got, all)
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		r.disk.node = "n1"
		all = append(all, all[:50]...)
		r.Append(all[150:])
		closeRolling(t, r)
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "again") {
			t.Errorf("logged: %s", log)
		}
		r, _ = openLogged(t, dir)
		got, _ = queryAll(t, r, Selection{})
		sameEvents(t, got, all[150:])
		closeRolling(t, r)
	})
}

func FuzzSegment(f *testing.F) {
	f.Add([]byte{})
	f.Add(binary.AppendUvarint([]byte{0, 1}, 1))
	f.Add((&blockInfo{kinds: 1 << 16, anyName: true}).appendTo(nil))
	var i blockInfo
	i.addName(string(appendNames(nil, Names{[]byte("shop"), []byte("web-0"), []byte("deploy/web")})))
	f.Add(i.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var i blockInfo
		if i.parse(b) != nil {
			return
		}
		for _, name := range i.names {
			parseNames([]byte(name.Value()))
		}
		if i.nameBytes > maxNameBytes {
			t.Errorf("%d bytes of names", i.nameBytes)
		}
	})
}
