package plugin

import (
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/plugin/rights"
)

// objects parses what rbac printed: strictly, so that an unknown field is an error.
func objects(t *testing.T, out string) (roles []rbacv1.Role, bindings []rbacv1.RoleBinding, policies []string) {
	t.Helper()
	for document := range strings.SplitSeq(out, "---\n") {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Fatal(err)
		}
		var role rbacv1.Role
		var binding rbacv1.RoleBinding
		var policy admissionv1.ValidatingAdmissionPolicy
		var policyBinding admissionv1.ValidatingAdmissionPolicyBinding
		into := map[string]any{
			"Role": &role, "RoleBinding": &binding, "ValidatingAdmissionPolicy": &policy,
			"ValidatingAdmissionPolicyBinding": &policyBinding,
		}[kind.Kind]
		if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
			t.Fatalf("%s: %v\n%s", kind.Kind, err, document)
		}
		switch kind.Kind {
		case "Role":
			roles = append(roles, role)
		case "RoleBinding":
			bindings = append(bindings, binding)
		default:
			policies = append(policies, kind.Kind)
		}
	}
	return roles, bindings, policies
}

func TestRBAC_RoleIsValidAndBound(t *testing.T) {
	code, out, errOut := run(t, "rbac", "--user", `o'"hara`)
	if code != ExitOK || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	roles, bindings, _ := objects(t, out)
	if len(roles) != 1 || len(bindings) != 1 {
		t.Fatalf("%d Roles, %d RoleBindings", len(roles), len(bindings))
	}
	role, binding := roles[0], bindings[0]
	if role.Namespace != "shop" || binding.Namespace != "shop" || binding.RoleRef.Name != role.Name ||
		len(binding.Subjects) != 1 || binding.Subjects[0].Kind != "User" || binding.Subjects[0].Name != `o'"hara` {
		t.Errorf("role %+v\nbinding %+v", role.ObjectMeta, binding)
	}
	checkNeeds(t, role.Rules)
}

// checkNeeds checks that the printed Roles grant all required permissions.
func checkNeeds(t *testing.T, rules []rbacv1.PolicyRule) {
	t.Helper()
	required, err := rights.Required()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range required {
		for _, verb := range p.Verbs {
			if !allows(rules, p.Group, p.Resource, verb) {
				t.Errorf("the Role does not let its user %s %s", verb, p.Name())
			}
		}
	}
}

func TestRBAC_DividesRightsBetweenNamespaces(t *testing.T) {
	code, out, errOut := run(t, "rbac", "--group", "sre", "--tracer-namespace", "tracers")
	if code != ExitOK || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	roles, bindings, policies := objects(t, out)
	if len(roles) != 2 || len(bindings) != 2 || len(policies) != 0 {
		t.Fatalf("%d Roles, %d RoleBindings, %q", len(roles), len(bindings), policies)
	}
	for i, namespace := range []string{"shop", "tracers"} {
		if roles[i].Namespace != namespace || bindings[i].Namespace != namespace ||
			bindings[i].RoleRef.Name != roles[i].Name || bindings[i].Subjects[0].Kind != "Group" ||
			bindings[i].Subjects[0].Name != "sre" {
			t.Errorf("%+v\n%+v", roles[i].ObjectMeta, bindings[i])
		}
	}
	for _, rule := range roles[0].Rules {
		for _, verb := range rule.Verbs {
			if !slices.Contains([]string{"get", "list", "watch"}, verb) {
				t.Errorf("in the application's namespace: %v %v", rule.Verbs, rule.Resources)
			}
		}
	}
	checkNeeds(t, roles[1].Rules)

	// Together they are the Role of one namespace.
	var one rbacv1.Role
	document, _, _ := strings.Cut(deploy.RBAC, "\n---\n")
	if err := yaml.UnmarshalStrict([]byte(document), &one); err != nil {
		t.Fatal(err)
	}
	both := slices.Concat(roles[0].Rules, roles[1].Rules)
	covers(t, "one Role", one.Rules, both)
	covers(t, "two Roles", both, one.Rules)
}

// covers checks that rules grant all that others do.
func covers(t *testing.T, what string, rules, others []rbacv1.PolicyRule) {
	t.Helper()
	for _, rule := range others {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				if !allows(rules, rule.APIGroups[0], resource, verb) {
					t.Errorf("%s: not allowed to %s %s", what, verb, resource)
				}
			}
		}
	}
}

func TestRBAC_BindsEachSubject(t *testing.T) {
	names := map[string]bool{}
	for _, args := range [][]string{
		{"--user", "a"}, {"--group", "a"}, {"--user", "https://x#a"}, {"--user", "https://x#b"},
	} {
		_, out, _ := run(t, append([]string{"rbac"}, args...)...)
		_, bindings, _ := objects(t, out)
		name := bindings[0].Name
		if names[name] || strings.ContainsAny(name, "/%") {
			t.Errorf("%q: binding %q", args, name)
		}
		names[name] = true
	}
}

func TestRBAC_PrintsThePolicy(t *testing.T) {
	const image = "example.com/orb8-tracer@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	args := []string{"rbac", "--user", "alice", "--tracer-namespace", "tracers", "--admission-policy"}
	code, out, errOut := run(t, append(args, "--image", image)...)
	_, _, policies := objects(t, out)
	if code != ExitOK || errOut != "" || len(policies) != 4 || !strings.Contains(out, image) {
		t.Errorf("exit code %d, stderr %q, %q", code, errOut, policies)
	}
	code, _, errOut = run(t, append(args, "--image", "example.com/orb8-tracer:v1")...)
	if code != ExitOK || !strings.Contains(errOut, "name the image by its digest") {
		t.Errorf("by tag: exit code %d, stderr %q", code, errOut)
	}
}

func TestRBAC_RefusesFlagsWithoutEffect(t *testing.T) {
	for args, want := range map[string]string{
		"--image x":          "--image goes with --admission-policy",
		"--admission-policy": "want --tracer-namespace, other than shop",
		"--tracer-namespace shop --admission-policy": "want --tracer-namespace, other " +
			"than shop",
		"--tracer-namespace t --admission-policy --oldest-kernel new":          `--oldest-kernel "new": want a release`,
		"--tracer-namespace t --admission-policy --gpu-runtime-class x":        "--gpu-runtime-class goes with --gpu",
		"--tracer-namespace t --admission-policy --tracer-labels orb8.dev/x=1": "want another key",
	} {
		code, out, errOut := run(t, append([]string{"rbac", "--user", "alice"}, strings.Fields(args)...)...)
		if code != ExitUsage || out != "" || !strings.Contains(errOut, want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %q", args, code, out, errOut, want)
		}
	}
}

func TestGrant_CoversBothNamespaces(t *testing.T) {
	c := &tracerConfig{namespace: "shop", tracerNamespace: "tracers"}
	for _, namespace := range []string{"shop", "tracers"} {
		got := explain(c.withGrant(&cluster.ForbiddenError{Verb: "list", Resource: "pods", Namespace: namespace}))
		want := "kubectl orb8 rbac -n shop --tracer-namespace tracers --user=USER | kubectl apply -f -"
		if !strings.HasSuffix(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func allows(rules []rbacv1.PolicyRule, group, resource, verb string) bool {
	has := func(list []string, want string) bool {
		for _, s := range list {
			if s == want {
				return true
			}
		}
		return false
	}
	for _, r := range rules {
		if has(r.APIGroups, group) && has(r.Resources, resource) && has(r.Verbs, verb) {
			return true
		}
	}
	return false
}
