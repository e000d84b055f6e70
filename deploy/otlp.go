package deploy

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// OTLP is the export of events to an OpenTelemetry collector.
type OTLP struct {
	// Endpoint is host:port, or a URL with protocol http.
	Endpoint string `json:"endpoint"`
	// Protocol is grpc or http; empty: grpc.
	Protocol string `json:"protocol,omitempty"`
	// Insecure sends without TLS.
	Insecure bool `json:"insecure,omitempty"`
	// Kinds are the exported kinds of events; none: those of agents' default.
	Kinds []string `json:"kinds,omitempty"`
	// Updates is how long changes of a living flow may wait, or all; empty: agents' default.
	Updates string `json:"updates,omitempty"`
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
	for _, kind := range o.Kinds {
		if !slices.Contains(recorded, kind) {
			return &ValueError{"otlp.kinds", kind, "some of the recorded kinds, " + strings.Join(recorded, ", ")}
		}
	}
	for field, name := range map[string]string{
		"otlp.headersSecret": o.HeadersSecret, "otlp.caSecret": o.CASecret, "otlp.clientSecret": o.ClientSecret,
	} {
		switch {
		case name == "":
		case len(validation.IsDNS1123Subdomain(name)) > 0:
			return &ValueError{field, name, "the name of a Secret"}
		case name == Authority:
			return &ValueError{field, name, "a Secret without the keys of orb8's authority"}
		case o.Insecure && field != "otlp.headersSecret":
			return &ValueError{field, name, "none without TLS"}
		}
	}
	if o.Updates != "" && o.Updates != "all" {
		if d, err := time.ParseDuration(o.Updates); err != nil || d < 10*time.Second || d > 24*time.Hour {
			return &ValueError{"otlp.updates", o.Updates, "all, or 10s to 24h"}
		}
	}
	switch o.Protocol {
	case "", "grpc":
		host, port, err := net.SplitHostPort(o.Endpoint)
		if n, wrong := strconv.ParseUint(port, 10, 16); err != nil || wrong != nil || n == 0 || host == "" ||
			strings.ContainsAny(host, "/@ \t\n") {
			return &ValueError{"otlp.endpoint", o.Endpoint, "host:port, as collector.monitoring:4317"}
		}
	case "http":
		scheme := "https"
		if o.Insecure {
			scheme = "http"
		}
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Scheme != scheme || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return &ValueError{"otlp.endpoint", o.Endpoint, "a URL that begins with " + scheme + "://"}
		}
	default:
		return &ValueError{"otlp.protocol", o.Protocol, "grpc or http"}
	}
	return nil
}

// config is the section export of the agents' configuration.
func (o *OTLP) config() string {
	if o == nil {
		return "null"
	}
	security := map[string]any{}
	section := map[string]any{"endpoint": o.Endpoint}
	set := func(to map[string]any, key string, wanted bool, value any) {
		if wanted {
			to[key] = value
		}
	}
	set(security, "insecure", o.Insecure, true)
	set(security, "caFile", o.CASecret != "", tokenDir+"/"+caFile)
	set(security, "certFile", o.ClientSecret != "", tokenDir+"/"+certFile)
	set(security, "keyFile", o.ClientSecret != "", tokenDir+"/"+keyFile)
	set(section, "tls", len(security) > 0, security)
	set(section, "protocol", o.Protocol != "", o.Protocol)
	set(section, "kinds", len(o.Kinds) > 0, o.Kinds)
	set(section, "updates", o.Updates != "", o.Updates)
	set(section, "headersFile", o.HeadersSecret != "", tokenDir+"/"+headersFile)
	text, _ := json.Marshal(section) // texts and lists of texts
	return string(text)
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

// Export is the section export of the agents' configuration, in JSON, which is YAML.
func (v *Values) Export() json.RawMessage { return json.RawMessage(v.OTLP.config()) }
