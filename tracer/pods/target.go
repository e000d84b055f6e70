package pods

// IsTarget reports whether a container of a present pod is a target, running or not.
func (r *Resolver) IsTarget(namespace, pod, container string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, p := range r.table.pods {
		if p.name != pod || p.namespace != namespace || !p.target || p.leaving {
			continue
		}
		if wanted, known := p.containers[container]; wanted || !known && !p.filtered {
			return true
		}
	}
	return false
}
