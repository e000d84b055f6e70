package install

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/deploy"
)

// The objects are an ApplySet (KEP-3659): a parent object lists the kinds of its members, and members have its id as a
// label. So an upgrade finds the objects that the new version has no more.
const (
	labelSetID         = "applyset.kubernetes.io/id"
	labelPartOf        = "applyset.kubernetes.io/part-of"
	annotationTooling  = "applyset.kubernetes.io/tooling"
	annotationContents = "applyset.kubernetes.io/contains-group-kinds"
)

const (
	// parentName is the name of the ConfigMap that is the parent. It also holds the values of the installation.
	parentName = "orb8"
	valuesKey  = "values.yaml"
)

type applySet struct {
	namespace string
	id        string
	// objects are the parent and the members, in the order to apply them.
	objects []*unstructured.Unstructured
	parent  *unstructured.Unstructured
	// kinds are the kinds of the members.
	kinds []string
}

// Objects returns what Install applies for values, without asking the cluster.
func Objects(values *deploy.Values, defaultImage string) ([]*unstructured.Unstructured, error) {
	set, err := newApplySet(values, values, defaultImage)
	if err != nil {
		return nil, err
	}
	return set.objects, nil
}

// newApplySet makes the objects of effective; values are those that the parent holds.
func newApplySet(values, effective *deploy.Values, defaultImage string) (*applySet, error) {
	set := &applySet{namespace: values.Namespace, id: setID(values.Namespace)}
	kinds := map[string]bool{}
	for _, object := range effective.Objects() {
		u, err := deploy.Unstructured(object)
		if err != nil {
			return nil, err
		}
		labels := u.GetLabels()
		labels[labelPartOf] = set.id
		u.SetLabels(labels)
		kinds[u.GroupVersionKind().GroupKind().String()] = true
		set.objects = append(set.objects, u)
	}
	set.kinds = slices.Sorted(maps.Keys(kinds))
	parent, err := newParent(values, set.id, defaultImage)
	if err != nil {
		return nil, err
	}
	set.parent = parent
	// The namespace comes first, and the parent before all other members.
	set.objects = slices.Insert(set.objects, 1, parent)
	set.contain(nil)
	return set, nil
}

func newParent(values *deploy.Values, id, defaultImage string) (*unstructured.Unstructured, error) {
	stored := *values
	if stored.Image == defaultImage {
		stored.Image = "" // an upgrade changes it
	}
	text, err := yaml.Marshal(&stored)
	if err != nil {
		return nil, err
	}
	labels := deploy.ComponentLabels("")
	labels[labelSetID] = id
	return deploy.Unstructured(&corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Name: parentName, Namespace: values.Namespace, Labels: labels,
			Annotations: map[string]string{
				deploy.AnnotationVersion: values.Version, annotationTooling: "orb8/" + values.Version,
			},
		},
		Data: map[string]string{valuesKey: string(text)},
	})
}

// restore sets the values that the installation was made with.
func (f *Installation) restore(values *deploy.Values) error {
	if f.values == "" {
		return nil
	}
	image := values.Image
	// A value that a newer version knows is not an error: --force goes back to this one.
	if err := yaml.Unmarshal([]byte(f.values), values); err != nil {
		return fmt.Errorf("configmap %s/%s: %s: %w", f.Namespace, parentName, valuesKey, err)
	}
	if values.Image == "" {
		values.Image = image
	}
	return nil
}

func setID(namespace string) string {
	sum := sha256.Sum256([]byte(parentName + "." + namespace + ".ConfigMap."))
	return "applyset-" + base64.RawURLEncoding.EncodeToString(sum[:]) + "-v1"
}

// contain sets the kinds that the parent lists: those of the members and others. It reports whether they changed.
func (s *applySet) contain(others []string) (changed bool) {
	all := slices.Concat(s.kinds, others)
	slices.Sort(all)
	text := strings.Join(slices.Compact(all), ",")
	annotations := s.parent.GetAnnotations()
	changed = annotations[annotationContents] != text
	annotations[annotationContents] = text
	s.parent.SetAnnotations(annotations)
	return changed
}

// dropNamespace leaves the namespace out.
func (s *applySet) dropNamespace() {
	s.objects = slices.DeleteFunc(s.objects, func(u *unstructured.Unstructured) bool {
		return u.GetKind() == "Namespace"
	})
}

// groupKinds returns the kinds that the parent in the cluster lists; none where there is no parent.
func (i *Installer) groupKinds(ctx context.Context, namespace string) ([]string, error) {
	parent, err := i.Client.CoreV1().ConfigMaps(namespace).Get(ctx, parentName, metav1.GetOptions{})
	if err != nil {
		return nil, ignoreNotFound(err)
	}
	return strings.FieldsFunc(parent.Annotations[annotationContents], func(r rune) bool { return r == ',' }), nil
}

// prune deletes the members that are not among the objects of the set.
func (i *Installer) prune(ctx context.Context, set *applySet, kinds []string) error {
	resources, err := i.Discover(ctx)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, u := range set.objects {
		keep[key(u.GroupVersionKind().GroupKind(), u.GetNamespace(), u.GetName())] = true
	}
	for _, kind := range kinds {
		gk := schema.ParseGroupKind(kind)
		r := resources.find(gk)
		if r == nil {
			continue // the cluster serves it no more
		}
		members, err := i.List(ctx, r.GVR, set.memberNamespace(r), labelPartOf+"="+set.id)
		if err != nil {
			return fmt.Errorf("list %s: %w", kind, err)
		}
		for _, m := range members {
			// The namespace of the installation is a member unless the user took it over.
			if keep[key(gk, m.Namespace, m.Name)] || kind == "Namespace" {
				continue
			}
			if err := i.delete(ctx, r.GVR, &m); err != nil {
				return err
			}
			i.Resultf("%s pruned", resourceName(gk.Kind, gk.Group, m.Name))
		}
	}
	return nil
}

func (s *applySet) memberNamespace(r *Resource) string {
	if r.Namespaced {
		return s.namespace
	}
	return ""
}

func key(gk schema.GroupKind, namespace, name string) string {
	return gk.String() + " " + namespace + "/" + name
}
