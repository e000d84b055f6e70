package pods

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// TestFacts_SurviveARecording sets each field of Facts by itself.
func TestFacts_SurviveARecording(t *testing.T) {
	for i := range reflect.TypeFor[Facts]().NumField() {
		f := &Facts{Namespace: "shop", Name: "web"}
		field := reflect.ValueOf(f).Elem().Field(i)
		switch field.Kind() {
		case reflect.String:
			field.SetString("x")
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Uint64:
			field.SetUint(7)
		default:
			t.Fatalf("no value for a %s", field.Kind())
		}
		w := New(time.Second)
		w.Add(f.Event(time.Unix(0, int64(start))))
		if p := w.pods[podKey{f.Namespace, f.Name}]; p == nil || !reflect.DeepEqual(p.facts, f) {
			t.Errorf("%s is lost", reflect.TypeFor[Facts]().Field(i).Name)
		}
	}
}

func TestFacts_OfARecording(t *testing.T) {
	at := time.Unix(0, int64(start))
	for name, c := range map[string]struct {
		world *world
		facts []*event.Event
		want  event.PodCause
	}{
		"not started": {new(world), []*event.Event{(&Facts{Namespace: "shop", Name: "web",
			NotStarted: "container web: ErrImagePull"}).Event(at)}, notStarted},
		"no pods": {new(world), []*event.Event{(&Facts{Namespace: "shop", Workload: "deploy/web", Old: true,
			NotStarted: "1 of 1 pods cannot be created: exceeded quota"}).Event(at)}, notStarted},
		"failing probes": {new(world).uses(calm), []*event.Event{(&Facts{Namespace: "shop", Name: "web", Running: true,
			ProbeFailures: 9, KilledByProbe: true}).Event(at)}, probeFailing},
		"no endpoints": {new(world).uses(calm).connects(service("api", 80), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil),
			[]*event.Event{Service{"shop", "api"}.Event(at, Endpoints{})}, noEndpoints},
		"endpoints": {new(world).uses(calm).connects(service("api", 80), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil),
			[]*event.Event{Service{"shop", "api"}.Event(at, Endpoints{Ready: true})}, refused},
	} {
		w := New(0)
		w.Observe("resources", "flow", "tcp", "dns", "drop", "exec")
		for _, ev := range append(c.world.events, c.facts...) {
			w.Add(ev)
		}
		rows := w.Verdicts()
		if len(rows) != 1 || rows[0].GetPodVerdict().GetVerdict() != c.want {
			t.Errorf("%s: %v, want %v", name, rows, c.want)
		}
	}
}

// TestFacts_OfAWorkloadWithoutPods: the verdict names no pod.
func TestFacts_OfAWorkloadWithoutPods(t *testing.T) {
	w := New(window * time.Second)
	w.Observe(allSources...)
	w.SetFacts(&Facts{Namespace: "shop", Workload: "deploy/web", Old: true,
		NotStarted: "2 of 3 pods cannot be created: exceeded quota: small"})
	rows := w.Verdicts()
	if len(rows) != 1 || rows[0].GetPod() != "" || rows[0].GetWorkload() != "deploy/web" {
		t.Fatalf("%v", rows)
	}
	const want = `deploy/web: not started: 2 of 3 pods cannot be created: exceeded quota: small
  confidence  high
  shares      notStarted 100%
  next        kubectl describe deploy/web -n shop
`
	if got := string(AppendText(nil, rows[0], "shop")); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	// A client of it leads there.
	for _, ev := range new(world).uses(calm).
		connects(service("api", 80), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil).events {
		w.Add(ev)
	}
	w.SetEndpoints(Service{"shop", "api"}, Endpoints{NotReady: "deploy/web"})
	for _, ev := range w.Verdicts() {
		if to, ok := w.LeadsTo(ev); ok != (ev.GetPod() != "") || ok && to != (Target{"shop", "deploy/web"}) {
			t.Errorf("%v leads to %v", ev, to)
		}
	}
}

// TestFacts_NamePodsAndWorkloadsApart: a recording may have the name of a pod for that of a workload.
func TestFacts_NamePodsAndWorkloadsApart(t *testing.T) {
	w := New(time.Second)
	w.Add((&Facts{Namespace: "shop", Name: "web", Running: true}).Event(time.Unix(0, int64(start))))
	w.Add((&Facts{Namespace: "shop", Workload: "web", NotStarted: "a lie"}).Event(time.Unix(0, int64(start))))
	if rows := w.Verdicts(); len(rows) != 1 || rows[0].GetPod() != "web" ||
		rows[0].GetPodVerdict().GetVerdict() == notStarted {
		t.Errorf("%v", rows)
	}
}

func TestFacts_ServicesAreBounded(t *testing.T) {
	w := New(time.Second)
	for i := range maxServices + 5 {
		w.Add(Service{"shop", string(rune(0x4e00 + i))}.Event(time.Unix(0, int64(start)), Endpoints{Ready: true}))
	}
	if len(w.endpoints) != maxServices || !w.Full() {
		t.Errorf("%d services are kept", len(w.endpoints))
	}
}

// TestFacts_OfACrashBeforeTheWindow: what it failed on was not seen, so that the verdict is not sure.
func TestFacts_OfACrashBeforeTheWindow(t *testing.T) {
	w := New(window * time.Second)
	w.Observe(allSources...)
	for _, ev := range new(world).uses(calm).events {
		w.Add(ev)
	}
	w.SetFacts(&Facts{Namespace: "shop", Name: "web", Running: true, Restarting: true, Restarts: 3,
		LastEnd: "exit code 1"})
	v := w.Verdicts()[0].GetPodVerdict()
	if v.GetVerdict() != crash || v.GetConfidence() == event.Confidence_CONFIDENCE_HIGH ||
		!strings.Contains(v.GetMissing(), "missing file") || !strings.Contains(v.GetWords(), "longer --window") {
		t.Errorf("%v", v)
	}
}

// TestLeadsTo_APodThatIsNotReady: of a Service without endpoints, its pods say why.
func TestLeadsTo_APodThatIsNotReady(t *testing.T) {
	w := New(window * time.Second)
	w.Observe(allSources...)
	for _, ev := range new(world).uses(calm).
		connects(service("api", 80), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil).events {
		w.Add(ev)
	}
	w.SetEndpoints(Service{"shop", "api"}, Endpoints{NotReady: "api-1"})
	ev := w.Verdicts()[0]
	to, ok := w.LeadsTo(ev)
	if ev.GetPodVerdict().GetVerdict() != noEndpoints || !ok || to != (Target{"shop", "api-1"}) {
		t.Errorf("%v leads to %v", ev, to)
	}
}
