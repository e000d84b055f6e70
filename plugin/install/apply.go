package install

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// fieldManager owns the fields that are applied.
const fieldManager = "orb8"

// applier applies objects.
type applier struct {
	*Installer
	force, dryRun bool
	// newNamespace: the namespace is not there yet, so that a dry run in it is an error.
	newNamespace bool
}

// applyAll applies objects in their order, and reports what became of each.
func (a *applier) applyAll(
	ctx context.Context, objects []*unstructured.Unstructured,
) (applied []*unstructured.Unstructured, err error) {
	for _, u := range objects {
		outcome, result, err := a.apply(ctx, u)
		if err != nil && a.dryRun && a.untestable(u, err) {
			outcome, result, err = "created", u, nil
		}
		if err != nil {
			return applied, err
		}
		applied = append(applied, result)
		if a.dryRun {
			outcome += " (server dry run)"
		}
		a.Resultf("%s %s", nameOf(u), outcome)
	}
	return applied, nil
}

// rehearse applies objects without effect, so that what would fail halfway fails before the first change.
func (a *applier) rehearse(ctx context.Context, objects []*unstructured.Unstructured) error {
	dry := *a
	dry.dryRun = true
	for _, u := range objects {
		if _, _, err := dry.apply(ctx, u); err != nil && !a.untestable(u, err) {
			return err
		}
	}
	return nil
}

// untestable reports whether a dry run fails only because it has not made what the object needs: its namespace, or the
// role that it binds.
func (a *applier) untestable(u *unstructured.Unstructured, err error) bool {
	return apierrors.IsNotFound(err) &&
		(a.newNamespace && u.GetNamespace() != "" || strings.HasSuffix(u.GetKind(), "RoleBinding"))
}

// apply applies one object, and returns what became of it: created, configured or unchanged.
func (a *applier) apply(
	ctx context.Context, u *unstructured.Unstructured,
) (outcome string, result *unstructured.Unstructured, err error) {
	client := a.resource(u)
	before, err := client.Get(ctx, u.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		before, err = nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("get %s: %w", nameOf(u), err)
	}
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: a.force}
	if a.dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	result, err = client.Apply(ctx, u.GetName(), u, options)
	switch {
	case apierrors.IsConflict(err):
		return "", nil, conflict(u, err)
	case err != nil:
		return "", nil, fmt.Errorf("apply %s: %w", nameOf(u), err)
	case before == nil:
		return "created", result, nil
	case equality.Semantic.DeepEqual(content(before), content(result)):
		return "unchanged", result, nil
	}
	return "configured", result, nil
}

func (a *applier) resource(u *unstructured.Unstructured) dynamic.ResourceInterface {
	gvr, _ := meta.UnsafeGuessKindToResource(u.GroupVersionKind())
	if u.GetNamespace() == "" {
		return a.Dynamic.Resource(gvr)
	}
	return a.Dynamic.Resource(gvr).Namespace(u.GetNamespace())
}

// content returns what an object says, without what the API server keeps about it.
func content(u *unstructured.Unstructured) map[string]any {
	u = u.DeepCopy()
	delete(u.Object, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(u.Object, "metadata", field)
	}
	return u.Object
}

// conflict names the fields that others manage.
func conflict(u *unstructured.Unstructured, err error) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return fmt.Errorf("apply %s: %w", nameOf(u), err)
	}
	var fields []string
	for _, cause := range status.Status().Details.Causes {
		fields = append(fields, cause.Field+" ("+cause.Message+")")
	}
	return fmt.Errorf("%s was changed by others: %s: undo that, or overwrite it with --force-conflicts", nameOf(u),
		strings.Join(fields, ", "))
}

// delete deletes an object that was listed, unless another has taken its place.
func (i *Installer) delete(
	ctx context.Context, gvr schema.GroupVersionResource, m *metav1.PartialObjectMetadata,
) error {
	options := metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}
	if m.UID != "" {
		options.Preconditions = metav1.NewUIDPreconditions(string(m.UID))
	}
	client := dynamic.ResourceInterface(i.Dynamic.Resource(gvr))
	if m.Namespace != "" {
		client = i.Dynamic.Resource(gvr).Namespace(m.Namespace)
	}
	err := client.Delete(ctx, m.Name, options)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete %s %s: %w", gvr.GroupResource(), m.Name, err)
	}
	return nil
}
