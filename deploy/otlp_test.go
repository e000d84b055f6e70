package deploy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// TestOTLP_AgentsTakeIt reads the section as agents do.
func TestOTLP_AgentsTakeIt(t *testing.T) {
	for name, o := range map[string]*OTLP{
		"none":     nil,
		"grpc":     {Endpoint: "collector.monitoring:4317"},
		"insecure": {Endpoint: "[fd00::1]:4317", Insecure: true, HeadersSecret: "token"},
		"http": {Endpoint: "https://collector.monitoring:4318/otlp", Protocol: "http", Kinds: []string{"flow", "exec"},
			Signals: []string{"logs", "metrics"}, MetricsInterval: metav1.Duration{Duration: 15 * time.Second},
			Updates: exportconfig.Updates(time.Minute), HeadersSecret: "token", CASecret: "ca", ClientSecret: "client"},
		"insecure http": {Endpoint: "http://collector:4318", Protocol: "http", Insecure: true,
			Updates: exportconfig.UpdatesAll},
	} {
		v := defaults()
		v.Kinds, v.OTLP = append(v.Kinds, "exec"), o
		if err := v.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var config struct {
			Kinds  []string             `json:"kinds"`
			Export *exportconfig.Config `json:"export"`
		}
		if err := yaml.Unmarshal([]byte(v.config().Data[configKey]), &config); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if (config.Export == nil) != (o == nil) {
			t.Errorf("%s: %+v", name, config.Export)
		}
		if config.Export == nil {
			continue
		}
		config.Export.Complete(config.Kinds)
		if err := config.Export.Validate(config.Kinds); err != nil || config.Export.Endpoint != o.Endpoint ||
			config.Export.Has("metrics") != (len(o.Signals) > 0) || o.MetricsInterval.Duration > 0 &&
			config.Export.MetricsInterval != o.MetricsInterval {
			t.Errorf("%s: %+v, %v", name, config.Export, err)
		}
	}
}

func TestOTLP_Secrets(t *testing.T) {
	v := defaults()
	v.OTLP = &OTLP{Endpoint: "c:1", HeadersSecret: "token", CASecret: "ca", ClientSecret: "client"}
	var got []string
	pod := v.AgentPod()
	for _, volume := range pod.Volumes {
		if volume.Name != "token" {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if s := source.Secret; s != nil {
				for _, item := range s.Items {
					got = append(got, fmt.Sprintf("%s.%s=%s optional=%v", s.Name, item.Key, item.Path, *s.Optional))
				}
			}
		}
	}
	want := "token.headers=otlp/headers optional=true, ca.ca.crt=otlp/ca.crt optional=true, " +
		"client.tls.crt=otlp/tls.crt optional=true, client.tls.key=otlp/tls.key optional=true"
	if strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
	// Headers are in no object that install makes.
	for _, o := range v.Objects() {
		if _, secret := o.(*corev1.Secret); secret {
			t.Errorf("a Secret %s", o.GetName())
		}
	}
}

func TestOTLP_ErrorsNameTheField(t *testing.T) {
	for field, o := range map[string]*OTLP{
		"otlp.endpoint":      {Endpoint: "collector"},
		"otlp.protocol":      {Endpoint: "c:1", Protocol: "udp"},
		"otlp.kinds":         {Endpoint: "c:1", Kinds: []string{"exec"}},
		"otlp.headersSecret": {Endpoint: "c:1", HeadersSecret: "A"},
		"otlp.caSecret":      {Endpoint: "c:1", CASecret: "ca", Insecure: true},
		"otlp.clientSecret":  {Endpoint: "c:1", ClientSecret: Authority},
		"otlp.updates":       {Endpoint: "c:1", Updates: 1},
		"otlp.signals":       {Endpoint: "c:1", Signals: []string{"traces"}},
		"otlp.metricsInterval": {Endpoint: "c:1", Signals: []string{"metrics"},
			MetricsInterval: metav1.Duration{Duration: time.Second}},
	} {
		v := defaults()
		v.OTLP = o
		if err := v.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, endpoint := range []string{"http://c:1", "https://u:p@c:1", "c:1", "https://"} {
		if err := (&OTLP{Endpoint: endpoint, Protocol: "http"}).validate(nil); err == nil {
			t.Errorf("%s was accepted", endpoint)
		}
	}
}
