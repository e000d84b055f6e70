package export

import "github.com/orb8-dev/kubectl-orb8/internal/exportconfig"

// Config is the configuration of an Exporter.
type Config = exportconfig.Config

// address is the endpoint for people.
func address(c *Config) string {
	if c.Protocol == exportconfig.ProtocolGRPC && c.TLS.Insecure {
		return c.Endpoint + " (without TLS)"
	}
	return c.Endpoint
}
