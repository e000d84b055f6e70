// Package deploy holds the manifests that orb8 gives to people.
package deploy

import _ "embed"

// RBAC is the least that a user of `kubectl orb8 trace` needs in a namespace that holds both targets and tracers: a
// Role and its RoleBinding. The placeholders are NAMESPACE, BINDING, and KIND and NAME of the subject.
//
//go:embed rbac.yaml
var RBAC string

// RBACTargets and RBACTracers divide RBAC between the namespace of the targets and the one of the tracers, whose
// placeholder is TRACERS.
var (
	//go:embed rbac-targets.yaml
	RBACTargets string
	//go:embed rbac-tracers.yaml
	RBACTracers string
)
