package plugin

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// otlpOptions are the flags of install for the export to a collector.
type otlpOptions struct {
	deploy.OTLP
	updates string
}

func (o *otlpOptions) bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.Endpoint, "otlp-endpoint", "", "Send events, or metrics, to this OpenTelemetry collector, "+
		"host:port or with --otlp-protocol=http a URL; \"\" switches it off (see docs/otlp.md)")
	flags.StringVar(&o.Protocol, "otlp-protocol", "", "grpc or http (default grpc)")
	flags.BoolVar(&o.Insecure, "otlp-insecure", false, "Send without TLS")
	flags.StringSliceVar(&o.Signals, "otlp-signals", nil,
		"What to send: logs (events), metrics, or both (default logs)")
	flags.DurationVar(&o.MetricsInterval.Duration, "otlp-metrics-interval", 0,
		"Time between two snapshots of the metrics (default 1m)")
	flags.StringSliceVar(&o.Kinds, "otlp-kinds", nil,
		"Kinds of events to send, of the recorded ones (default flow, tcp, dns, drop)")
	flags.StringVar(&o.updates, "otlp-updates", "", "Longest time from a change of an open flow to its record, "+
		"or all (default 5m)")
	flags.StringVar(&o.HeadersSecret, "otlp-headers-secret", "",
		"Secret in the installation's namespace whose key headers has the headers of requests, a line each")
	flags.StringVar(&o.CASecret, "otlp-ca-secret", "",
		"Secret whose key ca.crt has the authority of the collector's certificate (default: the image has none)")
	flags.StringVar(&o.ClientSecret, "otlp-client-secret", "",
		"Secret with the client certificate of agents in tls.crt and tls.key")
}

// override sets the values that flags were given for.
func (o *otlpOptions) override(flags *pflag.FlagSet, v *deploy.Values) error {
	if flags.Changed("otlp-endpoint") && o.Endpoint == "" {
		v.OTLP = nil
		return nil
	}
	next := deploy.OTLP{}
	if v.OTLP != nil {
		next = *v.OTLP
	}
	changed := false
	for flag, set := range map[string]func(){
		"otlp-endpoint":         func() { next.Endpoint = o.Endpoint },
		"otlp-protocol":         func() { next.Protocol = o.Protocol },
		"otlp-insecure":         func() { next.Insecure = o.Insecure },
		"otlp-signals":          func() { next.Signals = o.Signals },
		"otlp-metrics-interval": func() { next.MetricsInterval = o.MetricsInterval },
		"otlp-kinds":            func() { next.Kinds = o.Kinds },
		"otlp-headers-secret":   func() { next.HeadersSecret = o.HeadersSecret },
		"otlp-ca-secret":        func() { next.CASecret = o.CASecret },
		"otlp-client-secret":    func() { next.ClientSecret = o.ClientSecret },
	} {
		if flags.Changed(flag) {
			changed = true
			set()
		}
	}
	if flags.Changed("otlp-updates") {
		changed = true
		var err error
		if next.Updates, err = exportconfig.ParseUpdates(o.updates); err != nil {
			return wrongOTLP(err)
		}
	}
	if changed {
		v.OTLP = &next
	}
	return nil
}

// wrongOTLP makes a wrong value of the export a usage error that names its flag.
func wrongOTLP(err error) error {
	var wrong *exportconfig.Error
	if !errors.As(err, &wrong) {
		return err
	}
	return usagef("--otlp-%s %q: want %s", wrong.Key, wrong.Value, wrong.Want)
}
