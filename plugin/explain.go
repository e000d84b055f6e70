package plugin

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// explain adds to an error what was expected, and how to fix it.
func explain(err error) string {
	var forbidden *cluster.ForbiddenError
	var request *url.Error
	var grant *grantError
	switch {
	case clientcmd.IsEmptyConfig(err):
		return "no kubeconfig: set KUBECONFIG or --kubeconfig to the file of your cluster (kubectl config view shows " +
			"what is in use)"
	case errors.As(err, &grant):
		return grant.error.Error() + "; an administrator grants it with: " + grant.command
	case errors.As(err, &forbidden):
		return forbidden.Error() + "; an administrator grants it with: " + grantCommand(forbidden.Namespace, "")
	case apierrors.IsUnauthorized(err):
		return "the cluster does not know you: log in again, or check the user of the context with: kubectl config " +
			"view --minify"
	case errors.As(err, &request) && (utilnet.IsConnectionRefused(err) || request.Timeout() ||
		!apierrors.IsInternalError(err)):
		host := request.URL
		if u, parseErr := url.Parse(request.URL); parseErr == nil {
			host = u.Scheme + "://" + u.Host
		}
		return fmt.Sprintf("cluster unreachable at %s: %v; check with: kubectl cluster-info", host, request.Err)
	}
	return err.Error()
}

// grantError is a refusal with the command that grants the right.
type grantError struct {
	error
	command string
}

func (e *grantError) Unwrap() error { return e.error }

// withGrant adds to a refusal in one of the session's namespaces the command that grants what the session takes in
// both.
func (c *tracerConfig) withGrant(err error) error {
	var forbidden *cluster.ForbiddenError
	if !errors.As(err, &forbidden) || forbidden.Namespace != c.namespace && forbidden.Namespace != c.tracerNamespace {
		return err
	}
	return &grantError{err, grantCommand(c.namespace, c.tracerNamespace)}
}

// grantCommand grants what it takes to trace a namespace from tracers in another one, or in itself.
func grantCommand(namespace, tracerNamespace string) string {
	if namespace == "" {
		return "kubectl create clusterrolebinding orb8-view --clusterrole=view --user=USER"
	}
	elsewhere := ""
	if tracerNamespace != "" && tracerNamespace != namespace {
		elsewhere = " --tracer-namespace " + tracerNamespace
	}
	return fmt.Sprintf("kubectl orb8 rbac -n %s%s --user=USER | kubectl apply -f -", namespace, elsewhere)
}

// oneLine keeps an error on one line, but for one that points at a place in several, and makes strangers' text in it
// safe for a terminal.
func oneLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, line := range lines {
		lines[i] = string(safe.AppendText(nil, line))
	}
	return strings.Join(lines, "\n")
}
