// Package deploy holds the manifests that orb8 gives to people.
package deploy

import _ "embed"

// RBAC is the least that a user of `kubectl orb8 trace` needs in a namespace: a Role, its RoleBinding, and what lets the
// ends of other namespaces be named. The placeholders are NAMESPACE, KIND and NAME of who it is bound to.
//
//go:embed rbac.yaml
var RBAC string
