package faults

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// restarted reports that a container has crashed, and is in the first periods of its back-off: 10, 20 and 40 s.
func restarted(p *corev1.Pod) bool {
	return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount > 0
}

// waiting returns a condition: the container waits for one of some reasons.
func waiting(reasons ...string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		if len(p.Status.ContainerStatuses) != 1 {
			return false
		}
		w := p.Status.ContainerStatuses[0].State.Waiting
		for _, r := range reasons {
			if w != nil && w.Reason == r {
				return true
			}
		}
		return false
	}
}

// exited proves the exit code of the last crash of app.
func (s *Stage) exited(code int32) proof {
	return s.status("app", "a crash with this exit code", func(c corev1.ContainerStatus) bool {
		last := c.LastTerminationState.Terminated
		if c.State.Terminated != nil {
			last = c.State.Terminated
		}
		return c.RestartCount > 0 && last != nil && last.ExitCode == code
	})
}

func missingConfig(s *Stage) {
	s.failing(restarted, "app", "startup", "-file", "/etc/app/config.yaml")
	s.prove(s.exited(1), s.logged("no such file or directory"))
}

func unreadableSecret(s *Stage) {
	mode := int32(0o400) // of root, but the pod runs as nobody
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "key"},
		StringData: map[string]string{"tls.key": "not a key"}}
	if _, err := s.env.Client.CoreV1().Secrets(s.Namespace).Create(s.t.Context(), secret,
		metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	spec := s.failing(restarted, "app", "startup", "-file", "/etc/app/tls.key")
	spec.Unprivileged = true
	change(spec, func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "key", VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: "key", DefaultMode: &mode}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "key", MountPath: "/etc/app"}}
	})
	s.prove(s.exited(1), s.logged("permission denied"))
}

func segfault(s *Stage) {
	s.failing(restarted, "app", "die", "-signal", "11")
	s.prove(s.exited(128 + 11))
}

func refusedAtStart(s *Stage) {
	s.service("db", "db", 5432, 5432)
	s.run("db", s.one) // idle: nothing listens
	s.failing(restarted, "app", "startup", "-connect", "db:5432")
	s.prove(s.exited(1), s.logged("connection refused"))
}

// liveness adds a liveness probe each 3 s. Some failures in a row restart the container.
func liveness(path string, failures int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].LivenessProbe = httpProbe(path, failures) }
}

func httpProbe(path string, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(8080)}},
		PeriodSeconds: 3, FailureThreshold: failures, TimeoutSeconds: 1,
	}
}

func failingProbe(s *Stage) {
	change(s.run("web", s.one, "web", "-sick"), liveness("/healthz", 5))
	s.arm(func() { s.awaitEvent("web", "Unhealthy", "statuscode: 503") })
	s.prove(s.event("web", "Unhealthy", "statuscode: 503"))
}

func throttledProbe(s *Stage) {
	// A page takes 50 ms of a CPU, of which the limit allows 5 ms in 100: the probe's timeout is 1 s.
	spec := s.serve("web", 8080, "web", "-burn", "50ms")
	spec.CPU = "50m"
	// It is not restarted for a minute and a half.
	change(spec, liveness("/", 30))
	s.client("users", "call", "-to", webURL, "-parallel", "3", "-timeout", "30s")
	s.arm(func() { s.awaitEvent("web", "Unhealthy", "context deadline exceeded") })
	s.prove(s.throttled("web"), s.event("web", "Unhealthy", "context deadline exceeded"))
}

func missingImage(s *Stage) {
	change(s.failing(waiting("ErrImagePull", "ImagePullBackOff"), "web", "web"), func(p *corev1.Pod) {
		p.Spec.Containers[0].Image = "shop.invalid/web:v2"
		p.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent
	})
	s.prove(s.status("web", "an image that cannot be pulled", func(c corev1.ContainerStatus) bool {
		return c.State.Waiting != nil
	}))
}

func unschedulable(s *Stage) {
	spec := s.failing(func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
				return true
			}
		}
		return false
	}, "train", "burn")
	spec.Node = ""
	change(spec, func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("640")}
	})
	s.prove(s.event("train", "FailedScheduling", "Insufficient cpu"))
}

func missingConfigMap(s *Stage) {
	change(s.failing(waiting("CreateContainerConfigError"), "web", "web"), func(p *corev1.Pod) {
		p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "web-settings"}}}}
	})
	s.prove(s.status("web", "a missing ConfigMap", func(c corev1.ContainerStatus) bool {
		return c.State.Waiting != nil && c.State.Waiting.Reason == "CreateContainerConfigError"
	}))
}

func waitingInit(s *Stage) {
	running := func(p *corev1.Pod) bool {
		return len(p.Status.InitContainerStatuses) == 1 && p.Status.InitContainerStatuses[0].State.Running != nil
	}
	change(s.failing(running, "web", "web"), func(p *corev1.Pod) {
		init := p.Spec.Containers[0]
		init.Name, init.Args = "wait-for-db", []string{"idle"}
		p.Spec.InitContainers = []corev1.Container{init}
	})
	s.prove(s.status("web", "a container that waits for its init container", func(c corev1.ContainerStatus) bool {
		return c.State.Waiting != nil && c.State.Waiting.Reason == "PodInitializing"
	}))
}
