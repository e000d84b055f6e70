package export

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// registry is a gatherer of one counter, which counts how often it was gathered, for a number of workloads.
type registry struct {
	workloads int
	gathered  int
	err       error
}

func (r *registry) Gather() ([]*dto.MetricFamily, error) {
	r.gathered++
	f := &dto.MetricFamily{Name: new("orb8_events_total"), Type: new(dto.MetricType_COUNTER)}
	for i := range r.workloads {
		f.Metric = append(f.Metric, &dto.Metric{Counter: &dto.Counter{Value: new(float64(r.gathered))},
			Label: []*dto.LabelPair{{Name: new("workload"), Value: new(fmt.Sprintf("deploy/web-%d", i))}}})
	}
	return []*dto.MetricFamily{f}, r.err
}

// onlyMetrics is a configuration of metrics that are exported once and then each hour.
func onlyMetrics(t *testing.T, endpoint string, change func(*Config)) *Config {
	return newConfig(t, endpoint, func(c *Config) {
		c.Signals = []string{exportconfig.SignalMetrics}
		c.MetricsInterval.Duration = time.Hour
		if change != nil {
			change(c)
		}
	})
}

// values returns the values of all received points, in the order of their arrival.
func (c *collector) values() (all []float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.snapshots {
		for _, p := range pointsOf(r) {
			all = append(all, p.GetAsDouble())
		}
	}
	return all
}

func pointsOf(r *metricspb.ResourceMetrics) (all []*metricspb.NumberDataPoint) {
	for _, s := range r.GetScopeMetrics() {
		for _, m := range s.GetMetrics() {
			all = append(all, m.GetSum().GetDataPoints()...)
		}
	}
	return all
}

func TestSnapshots_AreSent(t *testing.T) {
	both(t, nil, func(t *testing.T, c *collector, endpoint string) {
		r := &registry{workloads: 100}
		e := runWith(t, onlyMetrics(t, endpoint, func(c *Config) {
			c.Resource, c.BatchBytes = map[string]string{"k8s.cluster.name": "prod"}, exportconfig.MinBatch
		}), r)
		produce(t, e.Exporter, 10) // events are off
		c.await(t, "the points", func() bool { return e.Status().Points.Sent == 100 })
		e.stop() // sends a last snapshot
		if s := e.Status(); s.Points.Sent != 200 || s.Points.Queued != 200 || s.Queued != 0 || s.Points.Error != "" ||
			s.Points.LastSent.IsZero() || s.Endpoint == "" {
			t.Errorf("%+v", s)
		}
		values := c.values()
		if len(values) != 200 || values[0] != 1 || values[199] != 2 {
			t.Errorf("%v", values)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for name, want := range map[string]string{"k8s.cluster.name": "prod", "k8s.node.name": "node-1",
			"service.name": "orb8-agent", "service.version": "v1", "service.instance.id": "node-1"} {
			if c.resource[name] != want {
				t.Errorf("%s is %q, want %q", name, c.resource[name], want)
			}
		}
		path := metrics.method
		if strings.HasPrefix(endpoint, "http") {
			path = metrics.path
		}
		if c.headers[0][":path"] != path {
			t.Errorf("%v", c.headers[0])
		}
	})
}

// TestSnapshots_BesideEvents holds that a collector without logs gets metrics.
func TestSnapshots_BesideEvents(t *testing.T) {
	c := newCollector(nil)
	c.answer = func(int) answer {
		if c.headers[len(c.headers)-1][":path"] == logs.method {
			return answer{grpc: status.Error(codes.Unavailable, "no logs")}
		}
		return answer{}
	}
	endpoint, _ := c.serveGRPC(t, "127.0.0.1:0", nil)
	e := runWith(t, newConfig(t, endpoint, func(c *Config) {
		c.Signals = []string{exportconfig.SignalLogs, exportconfig.SignalMetrics}
	}), &registry{workloads: 3})
	produce(t, e.Exporter, 5)
	c.await(t, "both", func() bool {
		s := e.Status()
		return s.Points.Sent == 3 && s.Error != ""
	})
	if s := e.Status(); s.Points.Error != "" || s.Sent != 0 || s.Pending != 5 {
		t.Errorf("%+v", s)
	}
}

func TestSnapshots_Answers(t *testing.T) {
	for name, c := range map[string]struct {
		answer     answer
		sent, lost uint64
		error      string
	}{
		"partial success": {answer{rejected: 2, message: "too old\x1b[2J"}, 3, 2,
			`2 of 5 points of metrics were rejected: too old\x1b[2J`},
		"refused": {answer{grpc: status.Error(codes.Unimplemented, "no metrics: 404"), code: 404}, 0, 5, "404"},
		"busy":    {answer{grpc: status.Error(codes.Unavailable, "x"), code: 503}, 5, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			decide := func(n int) answer {
				if n == 1 {
					return c.answer
				}
				return answer{}
			}
			both(t, decide, func(t *testing.T, col *collector, endpoint string) {
				e := runWith(t, onlyMetrics(t, endpoint, nil), &registry{workloads: 5})
				col.await(t, "the points", func() bool {
					s := e.Status().Points
					return s.Queued == 5 && s.Pending == 0
				})
				s := e.Status().Points
				if s.Sent != c.sent || s.Lost != c.lost || s.LostBy[Refused] != c.lost ||
					!strings.Contains(s.Error, c.error) || (c.error == "") != (s.Error == "") {
					t.Errorf("%+v", s)
				}
				e.stop()
				if s := e.Status().Points; s.Sent != c.sent+5 || s.Queued != 10 || s.Error != "" {
					t.Errorf("after the end: %+v", s)
				}
			})
		})
	}
}

// TestSnapshots_ReportProblems holds that what is not in a snapshot is counted, and said until the next one.
func TestSnapshots_ReportProblems(t *testing.T) {
	c := newCollector(nil)
	endpoint, _ := c.serveGRPC(t, "127.0.0.1:0", nil)
	t.Run("too many points", func(t *testing.T) {
		e := runWith(t, onlyMetrics(t, endpoint, func(c *Config) {
			c.QueueBytes, c.BatchBytes = exportconfig.MinQueue, exportconfig.MinBatch
		}), &registry{workloads: 10_000})
		c.await(t, "the points", func() bool { s := e.Status().Points; return s.Queued == 10_000 && s.Pending == 0 })
		if s := e.Status().Points; s.LostBy[Overflow] == 0 || s.Sent+s.Lost != s.Queued || s.Sent < 1000 ||
			!strings.HasSuffix(s.Error, " of 10000 points of metrics are more than export.queueBytes") {
			t.Errorf("%+v", s)
		}
	})
	t.Run("gathered in part", func(t *testing.T) {
		e := runWith(t, onlyMetrics(t, endpoint, nil), &registry{workloads: 3, err: errors.New("a wrong\x1b series")})
		c.await(t, "the points", func() bool { return e.Status().Points.Sent == 3 })
		if s := e.Status().Points; s.Error != `some metrics cannot be gathered: a wrong\x1b series` {
			t.Errorf("%+v", s)
		}
	})
}

func TestSnapshots_Reload(t *testing.T) {
	down := newCollector(func(int) answer { return answer{grpc: status.Error(codes.Unavailable, "x")} })
	endpoint, _ := down.serveGRPC(t, "127.0.0.1:0", nil)
	r := &registry{workloads: 4}
	e := runWith(t, onlyMetrics(t, endpoint, nil), r)
	down.await(t, "an attempt", func() bool { return e.Status().Points.Error != "" })
	up := newCollector(nil)
	url := up.serveHTTP(t)
	e.Apply(onlyMetrics(t, url, func(c *Config) { c.Resource = map[string]string{"k8s.cluster.name": "prod"} }))
	up.await(t, "the points", func() bool { return e.Status().Points.Sent == 4 })
	up.mu.Lock()
	cluster := up.resource["k8s.cluster.name"]
	up.mu.Unlock()
	if s := e.Status().Points; s.LostBy[Replaced] != 4 || s.Queued != 8 || s.Error != "" || cluster != "prod" {
		t.Errorf("%+v, of cluster %q", s, cluster)
	}
	t.Run("off", func(t *testing.T) {
		e.Apply(onlyMetrics(t, endpoint, nil))
		down.await(t, "an attempt", func() bool { return e.Status().Points.Error != "" })
		e.Apply(newConfig(t, url, nil)) // logs
		up.await(t, "the loss", func() bool { return e.Status().Points.Pending == 0 })
		produce(t, e.Exporter, 1)
		up.await(t, "the record", func() bool { return e.Status().Sent == 1 })
		if s := e.Status().Points; s.LostBy[Ended] != 4 || s.Queued != 12 || s.Error != "" {
			t.Errorf("%+v", s)
		}
	})
	t.Run("on again", func(t *testing.T) {
		e.Apply(onlyMetrics(t, url, nil))
		up.await(t, "the points", func() bool { return e.Status().Points.Sent == 8 })
	})
}
