package launch

import (
	"fmt"
	"regexp"
	"strings"
)

// metadataWords match the message of a policy that requires a label or an annotation.
var metadataWords = regexp.MustCompile(`(?i)\b(label|annotation)s?\b`)

// Refusal explains the API server's refusal to create the Job or its pod, and how to fix it.
func Refusal(spec *Spec, message string) *StartError {
	if strings.Contains(message, "violates PodSecurity") {
		return &StartError{
			Node: spec.Node, Reason: "pod security",
			Message: fmt.Sprintf("namespace %q forbids the tracer (%s)", spec.Namespace, policyOf(message)),
			Fix: fmt.Sprintf(
				"allow it with: kubectl label namespace %s pod-security.kubernetes.io/enforce=privileged --overwrite, "+
					"or run it elsewhere with --tracer-namespace", spec.Namespace),
		}
	}
	// The message names the pod, differently for each node; what is left is the same for all that fail of the same.
	if _, why, ok := strings.Cut(message, "is forbidden: "); ok {
		message = why
	}
	e := &StartError{Node: spec.Node, Reason: "forbidden", Message: message}
	const elsewhere = "run it elsewhere with --tracer-namespace"
	quota := strings.Contains(message, "exceeded quota") || strings.Contains(message, "failed quota")
	limited := limitUsage.MatchString(message) || limitRatio.MatchString(message)
	fit := fittingResources(message)
	switch {
	case strings.Contains(message, "ValidatingAdmissionPolicy '"+PolicyPrefix):
		e.Reason = "policy"
		e.Fix = "an administrator prints the policy for other tracers with: kubectl orb8 rbac --admission-policy --help"
	case quota:
		e.Reason = "quota"
		e.Fix = fmt.Sprintf("see kubectl describe quota -n %s, or %s", spec.Namespace, elsewhere)
		if fit != "" {
			e.Fix = fmt.Sprintf("ask for less with --tracer-resources %s, %s", fit, e.Fix)
		}
	case limited && fit != "":
		e.Reason, e.Fix = "limit range", fmt.Sprintf("keep to it with --tracer-resources %s, or %s", fit, elsewhere)
	case limited:
		e.Reason = "limit range"
		e.Fix = fmt.Sprintf("see kubectl describe limitrange -n %s; a tracer takes %s of memory at least: %s",
			spec.Namespace, MinMemory.String(), elsewhere)
	case metadataWords.MatchString(message):
		e.Fix = "set what the policy wants with --tracer-labels KEY=VALUE or --tracer-annotations KEY=VALUE, or " +
			elsewhere
	}
	return e
}

// policyOf finds the level in `… violates PodSecurity "restricted:latest": …`.
func policyOf(message string) string {
	_, rest, _ := strings.Cut(message, `violates PodSecurity "`)
	level, _, _ := strings.Cut(rest, ":")
	return "Pod Security level " + level
}
