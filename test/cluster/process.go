package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const tokenFile = "var/run/secrets/kubernetes.io/serviceaccount/token"

// processOf returns the process of a pod's container, if it runs on this
// machine: the one in a control group of the pod's that has a service account.
func processOf(pod *corev1.Pod) (*os.Process, error) {
	directory, err := processDirectory(pod)
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(filepath.Base(directory))
	if err != nil {
		return nil, err
	}
	return os.FindProcess(pid)
}

func processDirectory(pod *corev1.Pod) (string, error) {
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return "", err
	}
	for _, group := range groups {
		content, err := os.ReadFile(group)
		if err != nil || !InControlGroup(string(content), string(pod.UID)) {
			continue
		}
		// The sandbox has none.
		if _, err := os.Stat(filepath.Join(filepath.Dir(group), "root", tokenFile)); err == nil {
			return filepath.Dir(group), nil
		}
	}
	return "", errors.New("no process of the pod is on this machine")
}

// InControlGroup says whether the lines of /proc/PID/cgroup are of a process of
// the pod. Drivers write its UID with '-' or with '_'.
func InControlGroup(lines, uid string) bool {
	return strings.Contains(lines, "pod"+uid) || strings.Contains(lines, "pod"+strings.ReplaceAll(uid, "-", "_"))
}

// Token returns the token that a pod's process has, as it lies there.
func Token(pod *corev1.Pod) (string, error) {
	directory, err := processDirectory(pod)
	if err != nil {
		return "", fmt.Errorf("read the token of %s: %w", pod.Name, err)
	}
	token, err := os.ReadFile(filepath.Join(directory, "root", tokenFile))
	return strings.TrimSpace(string(token)), err
}
