package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// upTimeout bounds a start, which takes seconds.
const upTimeout = 3 * time.Minute

// up starts the cluster unless it is up and healthy.
func (c *cluster) up(ctx context.Context) error {
	if os.Getuid() != 0 {
		return errors.New("up: want root, for network namespaces, cgroups and containers")
	}
	if c.status(ctx) == nil {
		return nil
	}
	for _, tool := range []string{"etcd", "containerd", "runc", "ip", "nsenter", "iptables", "ctr"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: run e2e/install-deps.sh", tool)
		}
	}
	images, err := c.build(ctx)
	if err != nil {
		return err
	}
	// Remove the rest of a killed run.
	if err := c.down(ctx); err != nil {
		return fmt.Errorf("remove the rest of an earlier run: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	began := time.Now()
	if err := c.start(ctx, images); err != nil {
		return errors.Join(err, c.logTails(), c.down(context.WithoutCancel(ctx)))
	}
	logf("cluster up in %.1f s", time.Since(began).Seconds())
	return nil
}

// start starts the cluster on a clean machine. It loads the images of a directory into every node.
func (c *cluster) start(ctx context.Context, images string) error {
	for _, dir := range []string{"pki", "kubeconfig", "log", "pids"} {
		if err := os.MkdirAll(c.path(dir), 0o755); err != nil {
			return err
		}
	}
	// Before the first change to the machine.
	if err := c.remember(); err != nil {
		return fmt.Errorf("record the machine's settings: %w", err)
	}
	if err := c.pki(); err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	if err := passControllers(); err != nil {
		return err
	}
	if err := c.network(ctx); err != nil {
		return fmt.Errorf("create the network: %w", err)
	}
	var steps errgroup.Group
	var control, nodes []*component
	for _, p := range c.components() {
		if p.node == nil {
			control = append(control, p)
		} else {
			nodes = append(nodes, p)
		}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	steps.Go(func() error {
		defer close(ready)
		for _, p := range control[:2] {
			if err := c.launch(p); err != nil {
				return err
			}
		}
		if err := c.awaitAPI(ctx, client); err != nil {
			return err
		}
		for _, p := range control[2:] {
			if err := c.launch(p); err != nil {
				return err
			}
		}
		return c.deployDNS(ctx, client)
	})
	for _, n := range c.nodes {
		steps.Go(func() error {
			if err := n.makeCgroups(); err != nil {
				return err
			}
			if err := n.configure(); err != nil {
				return err
			}
			for _, p := range nodes {
				if p.node != n {
					continue
				}
				if p.name == "kubelet" {
					if err := n.awaitContainerd(ctx); err != nil {
						return err
					}
					if err := n.importImages(ctx, filepath.Join(images, "pause.tar"),
						filepath.Join(images, "coredns.tar")); err != nil {
						return err
					}
					// A kubelet that cannot connect to the API server waits seconds before it retries.
					<-ready
				}
				if err := c.launch(p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := steps.Wait(); err != nil {
		return err
	}
	if err := os.WriteFile(c.path("started"), nil, 0o644); err != nil {
		return err
	}
	restart := c.restarter()
	err = await(ctx, "both nodes and the cluster's DNS are ready", func() error {
		return errors.Join(restart(), c.healthy(ctx, client))
	})
	if err != nil {
		return err
	}
	return c.publishPodCIDRs(ctx, client)
}

// publishPodCIDRs writes each node's pod ranges into its spec, as a controller of most clusters does. Here the network
// configuration already has them.
func (c *cluster) publishPodCIDRs(ctx context.Context, client kubernetes.Interface) error {
	nodes := client.CoreV1().Nodes()
	for _, n := range c.nodes {
		spec := corev1.NodeSpec{PodCIDR: n.podCIDR(), PodCIDRs: []string{n.podCIDR(), n.podCIDR6()}}
		patch, err := json.Marshal(map[string]any{"spec": spec})
		if err != nil {
			return err
		}
		_, err = nodes.Patch(ctx, n.name(), types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		if err != nil {
			return fmt.Errorf("publish the pod ranges of %s: %w", n.name(), err)
		}
	}
	return nil
}

// maxRestarts bounds the restarts of a kubelet.
const maxRestarts = 3

// restarter returns a function that restarts kubelets that have ended, as an init system would. All kubelets of a
// machine create a socket at the same path in /var/lib/kubelet, and if two do so at once, one of them ends.
func (c *cluster) restarter() func() error {
	restarts := map[string]int{}
	return func() error {
		for _, p := range c.components() {
			r, ok := c.recorded(p)
			if p.name != "kubelet" || !ok || r.alive() || restarts[p.file()] == maxRestarts {
				continue
			}
			restarts[p.file()]++
			logf("%s has ended: restarting it", p.file())
			if err := c.launch(p); err != nil {
				return err
			}
		}
		return nil
	}
}

// await calls check until it returns nil. When the context ends, it returns the last error that was not due to that.
func await(ctx context.Context, what string, check func() error) error {
	var last error
	for {
		err := check()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %s: %w (%w)", what, last, context.Cause(ctx))
		}
	}
}

func (c *cluster) client() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig("admin"))
	if err != nil {
		return nil, err
	}
	config.Timeout, config.QPS, config.Burst = 10*time.Second, 100, 100
	config.WarningHandler = rest.NoWarnings{}
	return kubernetes.NewForConfig(config)
}

func (c *cluster) awaitAPI(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return await(ctx, "the API server is ready", func() error {
		for _, p := range c.components()[:2] {
			if r, ok := c.recorded(p); !ok || !r.alive() {
				cancel(fmt.Errorf("%s has ended", p.file()))
			}
		}
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

func (n *node) awaitContainerd(ctx context.Context) error {
	return await(ctx, "containerd answers", func() error {
		_, err := n.ctr(ctx, "version")
		return err
	})
}

func (n *node) ctr(ctx context.Context, args ...string) (string, error) {
	return output(ctx, "", "ctr", append([]string{"--address", n.socket(), "--namespace", "k8s.io"}, args...)...)
}

func (n *node) importImages(ctx context.Context, archives ...string) error {
	for _, a := range archives {
		if _, err := n.ctr(ctx, "images", "import", a); err != nil {
			return fmt.Errorf("load %s into %s: %w", a, n.name(), err)
		}
	}
	return nil
}

// load imports archives into both nodes.
func (c *cluster) load(ctx context.Context, archives []string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		group.Go(func() error { return n.importImages(ctx, archives...) })
	}
	return group.Wait()
}

// nameByDigest adds a name to a loaded image on both nodes, with the digest in place of the tag, like the name of an
// image from a registry. It returns the new name.
func (c *cluster) nameByDigest(ctx context.Context, image string) (string, error) {
	var name string
	for _, n := range c.nodes {
		table, err := n.ctr(ctx, "images", "ls", "name=="+image)
		if err != nil {
			return "", err
		}
		digest := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindString(table)
		if digest == "" {
			return "", fmt.Errorf("%s is not loaded into %s", image, n.name())
		}
		repository, _, _ := strings.Cut(image, ":")
		named := repository + "@" + digest
		if name != "" && name != named {
			return "", fmt.Errorf("%s has another digest on each node: %s and %s", image, name, named)
		}
		name = named
		if _, err := n.ctr(ctx, "images", "tag", "--force", image, name); err != nil {
			return "", err
		}
	}
	return name, nil
}

// status returns nil if the cluster is up and healthy.
func (c *cluster) status(ctx context.Context) error {
	if _, err := os.Stat(c.path("started")); err != nil {
		return errors.New("the cluster is not up")
	}
	for _, p := range c.components() {
		if r, ok := c.recorded(p); !ok || !r.alive() {
			return fmt.Errorf("%s does not run: see %s", p.file(), c.path("log", p.file()+".log"))
		}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	return c.healthy(ctx, client)
}

func (c *cluster) healthy(ctx context.Context, client kubernetes.Interface) error {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready := 0
	for i := range nodes.Items {
		for _, condition := range nodes.Items[i].Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	if ready != len(c.nodes) {
		return fmt.Errorf("%d of %d nodes are ready", ready, len(c.nodes))
	}
	dns, err := client.AppsV1().Deployments(metav1.NamespaceSystem).Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if dns.Status.ReadyReplicas == 0 {
		return errors.New("CoreDNS is not ready")
	}
	return nil
}

// logTails returns the end of each log as an error, since a failed start removes the logs.
func (c *cluster) logTails() error {
	var errs []error
	for _, p := range c.components() {
		if b, err := os.ReadFile(c.path("log", p.file()+".log")); err == nil && len(b) > 0 {
			errs = append(errs, fmt.Errorf("--- %s\n%s", p.file(), tail(string(b), 1500)))
		}
	}
	return errors.Join(errs...)
}

// control stops, starts or restarts a component, for tests of failures.
func (c *cluster) control(ctx context.Context, command string, args []string) error {
	node := ""
	if len(args) == 2 {
		node = args[1]
	}
	p, err := c.find(args[0], node)
	if err != nil {
		return err
	}
	if command != "start" {
		if err := c.kill(p); err != nil {
			return err
		}
	}
	if command == "stop" {
		return nil
	}
	if r, ok := c.recorded(p); ok && r.alive() {
		return nil
	}
	if err := c.launch(p); err != nil {
		return err
	}
	switch p.name {
	case "kube-apiserver":
		client, err := c.client()
		if err != nil {
			return err
		}
		return c.awaitAPI(ctx, client)
	case "containerd":
		return p.node.awaitContainerd(ctx)
	}
	return nil
}

// ignoreExists returns nil for "already exists", so that a creation can be repeated.
func ignoreExists(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
