package event

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestReadHeader(t *testing.T) {
	ev := &Event{
		Time: 5, Node: "n", Namespace: "shop", Pod: "web-0", Container: "main", PodUid: "u", Workload: "deploy/web",
		Kind: &Event_Dns{Dns: &Dns{Name: "a.", Src: &Endpoint{Namespace: "other"}}},
	}
	encoded, err := proto.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	h, ok := ReadHeader(encoded)
	if !ok || h.Time != 5 || h.Kind != "dns" || string(h.Namespace) != "shop" || string(h.Pod) != "web-0" ||
		string(h.Container) != "main" || string(h.PodUID) != "u" || string(h.Workload) != "deploy/web" {
		t.Errorf("got %+v, %v", h, ok)
	}
	if _, ok := ReadHeader(encoded[:len(encoded)-1]); ok {
		t.Error("half an event has a header")
	}
	for _, k := range Kinds() {
		found := false
		for _, name := range kindsByField() {
			found = found || name == k.Name
		}
		if !found {
			t.Errorf("kind %s has no field", k.Name)
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	encoded, err := proto.Marshal(&Event{Time: 5, Pod: "a", Kind: &Event_Tcp{Tcp: &Tcp{}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Fuzz(func(t *testing.T, encoded []byte) {
		h, ok := ReadHeader(encoded)
		var ev Event
		if err := proto.Unmarshal(encoded, &ev); err != nil {
			return
		}
		if !ok || h.Time != ev.GetTime() || string(h.Pod) != ev.GetPod() || string(h.Namespace) != ev.GetNamespace() {
			t.Errorf("got %+v of %v", h, &ev)
		}
	})
}

func BenchmarkReadHeader(b *testing.B) {
	encoded, err := proto.Marshal(&Event{
		Time: 5, Node: "node-1", Namespace: "shop", Pod: "web-0", Container: "main",
		PodUid: "7d9d1a4b-2b5f-4a86-a2ad-4b1d6f1f7d55", Workload: "deploy/web",
		Kind: &Event_Flow{Flow: &Flow{Src: &Endpoint{Address: []byte{10, 0, 0, 1}, Port: 80}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		ReadHeader(encoded)
	}
}
