package plugin

import (
	"reflect"
	"testing"

	"github.com/spf13/pflag"

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
			"--otlp-kinds=flow,exec", "--otlp-headers-secret=a", "--otlp-ca-secret=b", "--otlp-client-secret=c"}, nil,
			&deploy.OTLP{Endpoint: "http://c", Protocol: "http", Insecure: true, Kinds: []string{"flow", "exec"},
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
