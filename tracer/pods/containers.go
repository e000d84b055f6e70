package pods

import (
	"cmp"
	"slices"
	"strings"
)

// Container is an observed container with its cgroups.
type Container struct {
	// Cgroup is the id of its own cgroup.
	Cgroup uint64
	// Path of the cgroup's directory below the mount point of cgroup v2, with a leading slash.
	Path string
	// Below are the cgroups that the container has created below its own.
	Below []uint64
	// Identity is nil if it is not known yet.
	Identity *Identity
}

// Name returns "namespace/pod/container", "namespace/pod" for an unnamed container, or "?" for an unknown one.
func (c *Container) Name() string {
	switch {
	case c.Identity == nil:
		return "?"
	case c.Identity.Container == "":
		return c.Identity.Namespace + "/" + c.Identity.Pod
	}
	return c.Identity.Namespace + "/" + c.Identity.Pod + "/" + c.Identity.Container
}

// Containers lists the containers that are observed now, without sandboxes. root is the mount point of cgroup v2.
func (r *Resolver) Containers(root string) []Container {
	r.mu.RLock()
	list := r.table.containers()
	r.mu.RUnlock()
	kept := list[:0]
	for _, c := range list {
		if dir, ok := r.directory(root, c.Path, c.Cgroup); ok {
			c.Path = strings.TrimPrefix(dir, root)
			kept = append(kept, c)
		}
	}
	return kept
}

// containers lists the observed containers with the kernel's paths. A container's own cgroup is its oldest one.
func (t *table) containers() []Container {
	type key struct{ pod, container string }
	found := map[key]*Container{}
	for id, c := range t.cgroups {
		if c.removed || c.status == Foreign {
			continue
		}
		for _, place := range c.places {
			if t.byKey[place.Pod] == nil {
				continue
			}
			if place.Container == "" || t.tenants[place.Pod].sandbox == place.Container && c.container == "" {
				break
			}
			k := key{place.Pod, place.Container}
			switch f := found[k]; {
			case f == nil:
				found[k] = &Container{Cgroup: id, Path: c.path, Identity: c.identity}
			case id < f.Cgroup:
				f.Below = append(f.Below, f.Cgroup)
				f.Cgroup, f.Path, f.Identity = id, c.path, c.identity
			default:
				f.Below = append(f.Below, id)
			}
			break
		}
	}
	list := make([]Container, 0, len(found))
	for _, c := range found {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b Container) int { return cmp.Compare(a.Cgroup, b.Cgroup) })
	return list
}
