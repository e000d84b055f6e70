package deploy

import (
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Viewer is someone who may see events.
type Viewer struct {
	// Kind is User, Group or ServiceAccount. Namespace is that of a ServiceAccount.
	Kind, Namespace, Name string
	// In is the namespace whose events the viewer may see; empty: all namespaces.
	In string
	// Sensitive: the viewer may also see events whose arguments may hold secrets.
	Sensitive bool
	// Binding distinguishes the names of the bindings from those of other viewers.
	Binding string
}

// Bindings returns the bindings of a viewer, of the roles that Objects has. namespace is that of the installation.
func (v *Viewer) Bindings(namespace string) []Object {
	view := []string{View}
	if v.Sensitive {
		view = append(view, ViewSensitive)
	}
	var all []Object
	for _, role := range view {
		if v.In == "" {
			all = append(all, v.clusterRoleBinding(role))
		} else {
			all = append(all, v.roleBinding("ClusterRole", role, v.In))
		}
	}
	return append(all, v.clusterRoleBinding(Connect), v.roleBinding("Role", Connect, namespace))
}

func (v *Viewer) clusterRoleBinding(role string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		TypeMeta:   typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRoleBinding"),
		ObjectMeta: v.meta(role, ""), RoleRef: roleRef("ClusterRole", role), Subjects: v.subjects(),
	}
}

func (v *Viewer) roleBinding(kind, role, namespace string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta:   typeMeta(rbacv1.SchemeGroupVersion.String(), "RoleBinding"),
		ObjectMeta: v.meta(role, namespace), RoleRef: roleRef(kind, role), Subjects: v.subjects(),
	}
}

func (v *Viewer) meta(role, namespace string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: role + ":" + v.Binding, Namespace: namespace, Labels: ComponentLabels(ComponentAccess),
	}
}

func (v *Viewer) subjects() []rbacv1.Subject {
	s := rbacv1.Subject{Kind: v.Kind, Name: v.Name, Namespace: v.Namespace}
	if v.Kind != "ServiceAccount" {
		s.APIGroup = rbacv1.GroupName
	}
	return []rbacv1.Subject{s}
}

// ParseViewer parses user:NAME, group:NAME or sa:NAMESPACE:NAME.
func ParseViewer(text string) (*Viewer, error) {
	kind, name, _ := strings.Cut(text, ":")
	switch {
	case kind == "user" && name != "":
		return &Viewer{Kind: "User", Name: name}, nil
	case kind == "group" && name != "":
		return &Viewer{Kind: "Group", Name: name}, nil
	case kind == "sa":
		namespace, account, ok := strings.Cut(name, ":")
		if ok && namespace != "" && account != "" && !strings.Contains(account, ":") {
			return &Viewer{Kind: "ServiceAccount", Namespace: namespace, Name: account}, nil
		}
	}
	return nil, fmt.Errorf("%q: want user:NAME, group:NAME or sa:NAMESPACE:NAME", text)
}
