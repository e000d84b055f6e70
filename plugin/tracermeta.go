package plugin

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

// completeMetadata validates the labels and annotations of the tracers' Jobs.
func (c *tracerConfig) completeMetadata(o *tracerOptions) error {
	for _, name := range slices.Sorted(maps.Keys(o.resources)) {
		value := o.resources[name]
		if name != "cpu" && name != "memory" {
			return usagef("--tracer-resources %s=%s: want cpu or memory", name, value)
		}
		q, err := resource.ParseQuantity(value)
		if err != nil || q.Sign() <= 0 {
			return usagef("--tracer-resources %s=%s: want a quantity such as cpu=500m or memory=128Mi", name, value)
		}
		if name == "memory" && q.Cmp(launch.MinMemory) < 0 {
			return usagef("--tracer-resources memory=%s: want %s or more", value, launch.MinMemory.String())
		}
		if c.resources == nil {
			c.resources = corev1.ResourceList{}
		}
		c.resources[corev1.ResourceName(name)] = q
	}
	for flag, pairs := range map[string]map[string]string{"tracer-labels": o.labels,
		"tracer-annotations": o.annotations} {
		for _, key := range slices.Sorted(maps.Keys(pairs)) {
			if problems := validation.IsQualifiedName(key); len(problems) > 0 {
				return usagef("--%s %s=%s: the key is not valid: %s", flag, key, pairs[key],
					strings.Join(problems, "; "))
			}
			if key == launch.LabelName || key == launch.LabelManagedBy || strings.HasPrefix(key, "orb8.dev/") {
				return usagef("--%s %s=%s: want another key: kubectl orb8 sets this one itself", flag, key, pairs[key])
			}
			if problems := validation.IsValidLabelValue(pairs[key]); flag == "tracer-labels" && len(problems) > 0 {
				return usagef("--%s %s=%s: the value is not valid: %s", flag, key, pairs[key],
					strings.Join(problems, "; "))
			}
		}
	}
	c.labels, c.annotations = o.labels, o.annotations
	return nil
}
