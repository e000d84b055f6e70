package launch

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// MinMemory is the least memory that a tracer runs in.
var MinMemory = resource.MustParse("64Mi")

// defaultRequests and defaultLimits apply without Spec.Resources. A tracer needs much less than a CPU; quotas require
// limits.
var (
	defaultRequests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"),
		corev1.ResourceMemory: resource.MustParse("64Mi")}
	defaultLimits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"),
		corev1.ResourceMemory: resource.MustParse("256Mi")}
)

// resources returns the container's resources. Spec.Resources sets both the request and the limit.
func (s *Spec) resources() corev1.ResourceRequirements {
	r := corev1.ResourceRequirements{Requests: defaultRequests.DeepCopy(), Limits: defaultLimits.DeepCopy()}
	for name, q := range s.Resources {
		r.Requests[name], r.Limits[name] = q, q
	}
	return r
}

var (
	// LimitRanger's messages.
	limitUsage = regexp.MustCompile(`(?:maximum|minimum) (cpu|memory) usage per (?:Container|Pod) is ([^,\s]+),`)
	limitRatio = regexp.MustCompile(`(cpu|memory) max limit to request ratio per (?:Container|Pod) is`)
	// Of a quota's: `exceeded quota: q, requested: limits.memory=256Mi, used: limits.memory=1Gi, limited:
	// limits.memory=1Gi`.
	quotaPart = regexp.MustCompile(`(requested|used|limited): ((?:[a-z0-9./-]+=[^,\s]+,?)+)`)
)

// fittingResources returns the --tracer-resources that the LimitRange or the quota of a refusal would admit; empty
// where there are none.
func fittingResources(message string) string {
	fit := map[string]string{}
	for _, m := range limitRatio.FindAllStringSubmatch(message, -1) {
		limit := defaultLimits[corev1.ResourceName(m[1])]
		fit[m[1]] = limit.String() // as request and limit its ratio is 1
	}
	for _, m := range limitUsage.FindAllStringSubmatch(message, -1) {
		fit[m[1]] = m[2]
	}
	amounts := map[string]map[string]string{}
	for _, m := range quotaPart.FindAllStringSubmatch(message, -1) {
		amounts[m[1]] = map[string]string{}
		for part := range strings.SplitSeq(strings.TrimRight(m[2], ","), ",") {
			key, value, _ := strings.Cut(part, "=")
			amounts[m[1]][key] = value
		}
	}
	for key := range amounts["requested"] {
		name := key[strings.LastIndex(key, ".")+1:]
		if name != "cpu" && name != "memory" {
			return "" // of pods or Jobs: no size of the tracer's helps
		}
		room, err1 := resource.ParseQuantity(amounts["limited"][key])
		used, err2 := resource.ParseQuantity(amounts["used"][key])
		if err1 != nil || err2 != nil {
			return ""
		}
		room.Sub(used)
		if old, err := resource.ParseQuantity(fit[name]); err != nil || room.Cmp(old) < 0 {
			fit[name] = room.String()
		}
	}
	var parts []string
	for _, name := range []string{"cpu", "memory"} {
		if fit[name] == "" {
			continue
		}
		q, err := resource.ParseQuantity(fit[name])
		if err != nil || q.Sign() <= 0 || name == "memory" && q.Cmp(MinMemory) < 0 {
			return ""
		}
		parts = append(parts, name+"="+q.String())
	}
	return strings.Join(parts, ",")
}
