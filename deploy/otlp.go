package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// OTLP is the export of events and metrics to an OpenTelemetry collector.
type OTLP struct {
	// Endpoint is host:port, or a URL with protocol http.
	Endpoint string `json:"endpoint"`
	// Protocol is grpc or http; empty: grpc.
	Protocol string `json:"protocol,omitempty"`
	// Insecure sends without TLS.
	Insecure bool `json:"insecure,omitempty"`
	// Signals are what is exported: logs (events), metrics, or both; none: logs.
	Signals []string `json:"signals,omitempty"`
	// MetricsInterval is the time between two snapshots of the metrics; 0: agents' default.
	MetricsInterval metav1.Duration `json:"metricsInterval,omitzero"`
	// Kinds are the exported kinds of events; none: those of agents' default.
	Kinds []string `json:"kinds,omitempty"`
	// Updates is how long changes of a living flow may wait, or all; 0: agents' default.
	Updates exportconfig.Updates `json:"updates,omitempty"`
	// HeadersSecret is a Secret in the namespace with the headers of requests in its key headers.
	HeadersSecret string `json:"headersSecret,omitempty"`
	// CASecret has the authority of the collector's certificate in its key ca.crt, ClientSecret the certificate of
	// agents in tls.crt and tls.key.
	CASecret     string `json:"caSecret,omitempty"`
	ClientSecret string `json:"clientSecret,omitempty"`
}

// Files of the export in tokenDir. A Secret that is missing does not keep agents from starting: status names it.
const (
	headersFile = "otlp/headers"
	caFile      = "otlp/ca.crt"
	certFile    = "otlp/tls.crt"
	keyFile     = "otlp/tls.key"
)

// validate returns a *ValueError for the first wrong value.
func (o *OTLP) validate(recorded []string) error {
	for _, secret := range []struct{ field, name string }{
		{"otlp.headersSecret", o.HeadersSecret}, {"otlp.caSecret", o.CASecret}, {"otlp.clientSecret", o.ClientSecret},
	} {
		switch {
		case secret.name == "":
		case len(validation.IsDNS1123Subdomain(secret.name)) > 0:
			return &ValueError{secret.field, secret.name, "the name of a Secret"}
		case secret.name == Authority:
			return &ValueError{secret.field, secret.name, "a Secret without the keys of orb8's authority"}
		case o.Insecure && secret.field != "otlp.headersSecret":
			return &ValueError{secret.field, secret.name, "none without TLS"}
		}
	}
	c := o.config()
	c.Complete(recorded)
	err := c.Validate(recorded)
	if wrong := (*exportconfig.Error)(nil); errors.As(err, &wrong) {
		return &ValueError{"otlp." + wrong.Key, wrong.Value, wrong.Want}
	}
	return err
}

// config is the section export of the agents' configuration.
func (o *OTLP) config() *exportconfig.Config {
	c := &exportconfig.Config{Endpoint: o.Endpoint, Protocol: o.Protocol, Signals: o.Signals,
		MetricsInterval: o.MetricsInterval, Kinds: o.Kinds, Updates: o.Updates}
	c.TLS.Insecure = o.Insecure
	if o.CASecret != "" {
		c.TLS.CAFile = tokenDir + "/" + caFile
	}
	if o.ClientSecret != "" {
		c.TLS.CertFile, c.TLS.KeyFile = tokenDir+"/"+certFile, tokenDir+"/"+keyFile
	}
	if o.HeadersSecret != "" {
		c.HeadersFile = tokenDir + "/" + headersFile
	}
	return c
}

// secrets are the files of the export.
func (o *OTLP) secrets() (all []corev1.VolumeProjection) {
	if o == nil {
		return nil
	}
	for _, s := range []struct {
		name  string
		files []string
	}{{o.HeadersSecret, []string{headersFile}}, {o.CASecret, []string{caFile}},
		{o.ClientSecret, []string{certFile, keyFile}}} {
		if s.name == "" {
			continue
		}
		p := &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: s.name},
			Optional: new(true)}
		for _, file := range s.files {
			p.Items = append(p.Items, corev1.KeyToPath{Key: strings.TrimPrefix(file, "otlp/"), Path: file})
		}
		all = append(all, corev1.VolumeProjection{Secret: p})
	}
	return all
}

// configText is the configuration of agents.
func (v *Values) configText() string {
	return fmt.Sprintf("kinds: [%s]\ninterval: 1s\nexport: %s\n", strings.Join(v.Kinds, ", "), v.Export())
}

// Export is the section export of the agents' configuration, in JSON, which is YAML; null: nothing is exported. Its
// keys are in alphabetical order, as Helm writes them.
func (v *Values) Export() json.RawMessage {
	if v.OTLP == nil {
		return json.RawMessage("null")
	}
	text, _ := json.Marshal(v.OTLP.config()) // texts and lists of texts, as below
	var sorted map[string]any
	_ = json.Unmarshal(text, &sorted)
	text, _ = json.Marshal(sorted)
	return text
}
