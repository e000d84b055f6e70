// Package kubefake has client-go's fake clients behind the groups of package kube, for tests.
package kubefake

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/clientset"
)

// Client has the methods of kube.Interface, and besides those of the fake, for reactors, trackers and actions.
type Client struct {
	kube.Interface
	all
}

// all is embedded one level deeper than kube.Interface, whose methods hide those of the same names.
type all struct{ *fake.Clientset }

// New returns clients of an API server that has the objects.
func New(objects ...runtime.Object) *Client {
	client := fake.NewClientset(objects...)
	return &Client{Interface: clientset.Of(client), all: all{client}}
}
