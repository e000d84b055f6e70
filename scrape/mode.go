package scrape

import (
	"fmt"

	"k8s.io/client-go/rest"
)

// Values of the option --metrics-auth.
const (
	// AuthKubernetes lets those scrape whom the API server allows to.
	AuthKubernetes = "kubernetes"
	// AuthNone lets everyone.
	AuthNone = "none"
)

// AuthUsage is the help of the option.
const AuthUsage = "who may scrape: kubernetes (whom the API server allows to get the non-resource URL /metrics) or " +
	"none (everyone)"

// ParseAuth returns the Auth of a value of the option; nil: everyone may scrape.
func ParseAuth(value string, config *rest.Config) (*Auth, error) {
	switch value {
	case AuthNone:
		return nil, nil
	case AuthKubernetes:
		return NewAuth(config)
	}
	return nil, fmt.Errorf("--metrics-auth %q: want %s or %s", value, AuthKubernetes, AuthNone)
}
