package plugin

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

func TestInstall_OTLPFlags(t *testing.T) {
	before := &deploy.OTLP{Endpoint: "c:4317", HeadersSecret: "token"}
	for name, c := range map[string]struct {
		args []string
		had  *deploy.OTLP
		want *deploy.OTLP
	}{
		"none":  {nil, nil, nil},
		"stays": {nil, before, before},
		"on":    {[]string{"--otlp-endpoint=c:4317", "--otlp-headers-secret=token"}, nil, before},
		"off":   {[]string{"--otlp-endpoint="}, before, nil},
		"one change": {[]string{"--otlp-updates=all"}, before,
			&deploy.OTLP{Endpoint: "c:4317", HeadersSecret: "token", Updates: exportconfig.UpdatesAll}},
		"all": {[]string{"--otlp-endpoint=http://c", "--otlp-protocol=http", "--otlp-insecure",
			"--otlp-kinds=flow,exec", "--otlp-headers-secret=a", "--otlp-ca-secret=b", "--otlp-client-secret=c",
			"--otlp-signals=logs,metrics", "--otlp-metrics-interval=30s"}, nil,
			&deploy.OTLP{Endpoint: "http://c", Protocol: "http", Insecure: true, Kinds: []string{"flow", "exec"},
				Signals: []string{"logs", "metrics"}, MetricsInterval: metav1.Duration{Duration: 30 * time.Second},
				HeadersSecret: "a", CASecret: "b", ClientSecret: "c"}},
	} {
		o := &installOptions{kube: newKubeFlags()}
		flags := pflag.NewFlagSet("install", pflag.ContinueOnError)
		o.bind(flags)
		if err := flags.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		values := &deploy.Values{OTLP: c.had}
		if err := o.override(flags, values); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(values.OTLP, c.want) {
			t.Errorf("%s: %+v, want %+v", name, values.OTLP, c.want)
		}
	}
	if !reflect.DeepEqual(before, &deploy.OTLP{Endpoint: "c:4317", HeadersSecret: "token"}) {
		t.Error("the values of before were changed")
	}
}

// TestInstall_WrongOTLPFlags holds that an error names the flag.
func TestInstall_WrongOTLPFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--otlp-updates=never":                              `--otlp-updates "never": want all, or a duration`,
		"--otlp-updates=1s":                                 "--otlp-updates 1s: want all, or 10s to 24h0m0s",
		"--otlp-signals=traces":                             "--otlp-signals traces: want logs, metrics, or both",
		"--otlp-metrics-interval=1m":                        "--otlp-metrics-interval 1m0s: want none, unless metrics",
		"--otlp-signals=metrics --otlp-metrics-interval=1s": "--otlp-metrics-interval 1s: want 5s to 1h0m0s",
		"--otlp-protocol=udp":                               "--otlp-protocol udp: want grpc or http",
		"--otlp-endpoint=c":                                 "--otlp-endpoint c: want host:port",
	} {
		o := &installOptions{kube: newKubeFlags()}
		flags := pflag.NewFlagSet("install", pflag.ContinueOnError)
		o.bind(flags)
		if err := flags.Parse(append([]string{"--otlp-endpoint=c:4317"}, strings.Fields(args)...)); err != nil {
			t.Fatal(err)
		}
		values := deploy.Default("orb8-system", "v1", "image")
		err := o.override(flags, values)
		if err == nil {
			err = wrongFlag(values.Validate())
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestInstall_HistoryFlags(t *testing.T) {
	before := deploy.History{URL: "http://store:9428", Resource: "k8s.cluster.name=prod"}
	for name, c := range map[string]struct {
		args []string
		had  *deploy.History
		want *deploy.History
	}{
		"none":  {nil, nil, nil},
		"stays": {nil, &before, &before},
		"on": {[]string{"--history-url=http://store:9428", "--history-resource=k8s.cluster.name=prod"}, nil,
			&before},
		"off": {[]string{"--history-url="}, &before, nil},
		"moves": {[]string{"--history-url=https://s"}, &before, &deploy.History{URL: "https://s",
			Resource: before.Resource}},
		// Validation refuses it.
		"not whole": {[]string{"--history-resource=a=b"}, nil, &deploy.History{Resource: "a=b"}},
	} {
		o := &installOptions{kube: newKubeFlags()}
		flags := pflag.NewFlagSet("install", pflag.ContinueOnError)
		o.bind(flags)
		if err := flags.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		values := deploy.Default("orb8-system", "v1", "image")
		values.History = c.had
		if err := o.override(flags, values); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(values.History, c.want) {
			t.Errorf("%s: %+v, want %+v", name, values.History, c.want)
		}
		if err := values.Validate(); (err != nil) != (name == "not whole") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
