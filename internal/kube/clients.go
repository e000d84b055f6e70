package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// Clients implements Interface by requests to an API server.
type Clients struct {
	core, apps, batch, discovery, networking, node, rbac, certificates, authorization, authentication group
}

// group makes the clients of the resources of one API group.
type group struct {
	client rest.Interface
	codec  runtime.ParameterCodec
}

// NewForConfig returns the clients of an API server. They share connections.
func NewForConfig(config *rest.Config) (*Clients, error) {
	shared := rest.CopyConfig(config)
	if shared.UserAgent == "" {
		shared.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	if shared.RateLimiter == nil && shared.QPS > 0 {
		if shared.Burst <= 0 {
			return nil, errors.New("a rate of requests needs a burst")
		}
		shared.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(shared.QPS, shared.Burst)
	}
	transport, err := rest.HTTPClientFor(shared)
	if err != nil {
		return nil, err
	}
	known := newScheme()
	codec := runtime.NewParameterCodec(known)
	shared.NegotiatedSerializer = rest.CodecFactoryForGeneratedClient(known, serializer.NewCodecFactory(known)).
		WithoutConversion()
	c := &Clients{}
	for gv, g := range map[schema.GroupVersion]*group{
		corev1.SchemeGroupVersion: &c.core, appsv1.SchemeGroupVersion: &c.apps, batchv1.SchemeGroupVersion: &c.batch,
		discoveryv1.SchemeGroupVersion: &c.discovery, nodev1.SchemeGroupVersion: &c.node,
		networkingv1.SchemeGroupVersion: &c.networking,
		rbacv1.SchemeGroupVersion:       &c.rbac, certificatesv1.SchemeGroupVersion: &c.certificates,
		authorizationv1.SchemeGroupVersion:  &c.authorization,
		authenticationv1.SchemeGroupVersion: &c.authentication,
	} {
		own := rest.CopyConfig(shared)
		own.GroupVersion, own.APIPath = &gv, "/apis"
		if gv.Group == "" {
			own.APIPath = "/api"
		}
		client, err := rest.RESTClientForConfigAndClient(own, transport)
		if err != nil {
			return nil, err
		}
		*g = group{client, codec}
	}
	return c, nil
}

// ServerVersion implements Interface.
func (c *Clients) ServerVersion(ctx context.Context) (*version.Info, error) {
	body, err := c.core.client.Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	v := &version.Info{}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("parse the version of the API server: %w", err)
	}
	return v, nil
}

// CoreV1 implements Interface.
func (c *Clients) CoreV1() CoreV1 { return core{c.core} }

// AppsV1 implements Interface.
func (c *Clients) AppsV1() AppsV1 { return apps{c.apps} }

// BatchV1 implements Interface.
func (c *Clients) BatchV1() BatchV1 { return batch{c.batch} }

// DiscoveryV1 implements Interface.
func (c *Clients) DiscoveryV1() DiscoveryV1 { return endpoints{c.discovery} }

// NetworkingV1 implements Interface.
func (c *Clients) NetworkingV1() NetworkingV1 { return networking{c.networking} }

// NodeV1 implements Interface.
func (c *Clients) NodeV1() NodeV1 { return node{c.node} }

// RbacV1 implements Interface.
func (c *Clients) RbacV1() RbacV1 { return rbac{c.rbac} }

// CertificatesV1 implements Interface.
func (c *Clients) CertificatesV1() CertificatesV1 { return certificates{c.certificates} }

// AuthorizationV1 implements Interface.
func (c *Clients) AuthorizationV1() AuthorizationV1 { return authorization{c.authorization} }

// AuthenticationV1 implements Interface.
func (c *Clients) AuthenticationV1() AuthenticationV1 { return authentication{c.authentication} }
