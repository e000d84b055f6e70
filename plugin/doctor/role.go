package doctor

import (
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// Permission is what the documented Role grants on one resource.
type Permission struct {
	Group, Resource string
	Verbs           []string
}

// Permissions reads the rules of a manifest's first document, a Role.
func Permissions(manifest string) ([]Permission, error) {
	document, _, _ := strings.Cut(manifest, "\n---\n")
	var role rbacv1.Role
	if err := yaml.UnmarshalStrict([]byte(document), &role); err != nil {
		return nil, fmt.Errorf("read the Role: %w", err)
	}
	var all []Permission
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			all = append(all, Permission{Group: rule.APIGroups[0], Resource: resource, Verbs: rule.Verbs})
		}
	}
	return all, nil
}

// Name is the resource as kubectl writes it: jobs.batch, pods/log.
func (p *Permission) Name() string {
	if p.Group == "" {
		return p.Resource
	}
	return p.Resource + "." + p.Group
}

// Review asks whether the user may use a verb in a namespace.
func (p *Permission) Review(verb, namespace string) *authorizationv1.SelfSubjectAccessReview {
	resource, sub, _ := strings.Cut(p.Resource, "/")
	return &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: verb, Group: p.Group, Resource: resource, Subresource: sub,
		},
	}}
}

// limits are what a session does without; what is not here it cannot do without. "verb resource" goes before "resource".
var limits = map[string]string{
	"patch jobs":             "a session ends after an hour, and a tracer's pod with a sidecar in it outlives a killed session by as much",
	"get jobs":               "targets like job/NAME are not found, nor pods that ended sessions left",
	"list jobs":              "Jobs that a killed session left are not swept before they expire",
	"events":                 "why a tracer's pod is refused (Pod Security, quota) is not told",
	"services":               "Services are shown by their addresses",
	"endpointslices":         "the pods behind Services are not named",
	"deployments":            "targets like deploy/NAME are not found",
	"statefulsets":           "targets like sts/NAME are not found",
	"daemonsets":             "targets like ds/NAME are not found",
	"cronjobs":               "targets like cronjob/NAME are not found",
	"replicationcontrollers": "targets like rc/NAME are not found",
	"replicasets":            "targets like rs/NAME are not found",
	"get pods":               "",
}

// Judge makes a finding of what the user may not; mend is the command that grants all.
func (p *Permission) Judge(namespace string, refused []string, mend string) Finding {
	f := Finding{
		Check: "permission: " + p.Name(), Status: OK,
		Detail: fmt.Sprintf("%s in namespace %s", strings.Join(p.Verbs, ", "), namespace),
	}
	if len(refused) == 0 {
		return f
	}
	var without []string
	f.Status = Warning
	for _, verb := range refused {
		limit, ok := limits[verb+" "+p.Resource]
		if !ok {
			limit, ok = limits[p.Resource]
		}
		switch {
		case !ok:
			f.Status = Failure
		case limit != "" && !slices.Contains(without, limit):
			without = append(without, limit)
		}
	}
	f.Detail = fmt.Sprintf("may not %s %s in namespace %s", strings.Join(refused, ", "), p.Name(), namespace)
	if f.Status == Warning && len(without) > 0 {
		f.Detail += ": " + strings.Join(without, "; ")
	}
	f.Mend = mend
	return f
}
