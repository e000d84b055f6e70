// Package deploy holds the objects of persistent mode, made of Values, and the RBAC manifests that `kubectl orb8 rbac`
// prints.
package deploy

import _ "embed"

//go:generate go run ./helm/generate chart

// RBAC is the minimal Role of a user of `kubectl orb8 trace` in a namespace that has both targets and tracers, and its
// RoleBinding. The placeholders are NAMESPACE, BINDING, and KIND and NAME of the subject, as in {{NAME}}.
//
//go:embed rbac.yaml
var RBAC string

// RBACTargets and RBACTracers split RBAC between the namespace of the targets and that of the tracers. The placeholder
// of the latter is TRACERS.
var (
	//go:embed rbac-targets.yaml
	RBACTargets string
	//go:embed rbac-tracers.yaml
	RBACTracers string
)
