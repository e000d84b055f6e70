package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// authority signs what the cluster's parts know each other by.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

// newAuthority makes the cluster's CA, or reads the one that is there.
func newAuthority(dir string) (*authority, error) {
	a := &authority{dir: dir}
	certPEM, certErr := os.ReadFile(filepath.Join(dir, "ca.crt"))
	keyPEM, keyErr := os.ReadFile(filepath.Join(dir, "ca.key"))
	if certErr == nil && keyErr == nil {
		certBlock, _ := pem.Decode(certPEM)
		keyBlock, _ := pem.Decode(keyPEM)
		if certBlock == nil || keyBlock == nil {
			return nil, fmt.Errorf("%s: the CA is no PEM", dir)
		}
		var err error
		if a.cert, err = x509.ParseCertificate(certBlock.Bytes); err != nil {
			return nil, err
		}
		a.key, err = x509.ParseECPrivateKey(keyBlock.Bytes)
		return a, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a.key = key
	a.cert = &x509.Certificate{
		Subject: pkix.Name{CommonName: "orb8-e2e"}, SerialNumber: big.NewInt(1), IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		NotBefore:             time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	return a, a.write("ca", a.cert, key)
}

// issue makes a certificate for a subject, good for both ends of a connection.
func (a *authority) issue(file string, subject pkix.Name, names ...string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	cert := &x509.Certificate{
		Subject: subject, SerialNumber: serial, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, name)
		}
	}
	return a.write(file, cert, key)
}

func (a *authority) write(file string, cert *x509.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	path := filepath.Join(a.dir, file)
	if err := os.WriteFile(path+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		0o644); err != nil {
		return err
	}
	return os.WriteFile(path+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600)
}

// pki makes all keys and kubeconfigs.
func (c *cluster) pki() error {
	a, err := newAuthority(c.path("pki"))
	if err != nil {
		return err
	}
	admins := pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}
	subjects := map[string]pkix.Name{
		"admin":                   admins,
		"apiserver-kubelet":       {CommonName: "apiserver-kubelet", Organization: []string{"system:masters"}},
		"kube-controller-manager": {CommonName: "system:kube-controller-manager"},
		"kube-scheduler":          {CommonName: "system:kube-scheduler"},
		"kube-proxy":              {CommonName: "system:kube-proxy"},
	}
	for file, subject := range subjects {
		if err := a.issue(file, subject); err != nil {
			return err
		}
	}
	if err := a.issue("apiserver", pkix.Name{CommonName: "kube-apiserver"}, c.hostIP(), c.hostIP6(), c.serviceIP(),
		"127.0.0.1",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc"); err != nil {
		return err
	}
	if err := a.issue("service-account", pkix.Name{CommonName: "service-account"}); err != nil {
		return err
	}
	for _, n := range c.nodes {
		subject := pkix.Name{CommonName: "system:node:" + n.name(), Organization: []string{"system:nodes"}}
		if err := a.issue(n.name(), subject, n.name(), n.ip(), n.ip6()); err != nil {
			return err
		}
		subjects[n.name()] = subject
	}
	for user := range subjects {
		if err := c.writeKubeconfig(user); err != nil {
			return err
		}
	}
	return nil
}

// writeKubeconfig embeds the keys, so that the file can be taken elsewhere.
func (c *cluster) writeKubeconfig(user string) error {
	read := func(name string) []byte {
		b, err := os.ReadFile(c.path("pki", name))
		if err != nil {
			panic(err) // written a moment ago
		}
		return b
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["orb8-e2e"] = &clientcmdapi.Cluster{Server: c.server(), CertificateAuthorityData: read("ca.crt")}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: read(user + ".crt"),
		ClientKeyData: read(user + ".key")}
	config.Contexts["orb8-e2e"] = &clientcmdapi.Context{Cluster: "orb8-e2e", AuthInfo: user}
	config.CurrentContext = "orb8-e2e"
	return clientcmd.WriteToFile(*config, c.kubeconfig(user))
}

// user prints the kubeconfig of a person who may nothing yet.
func (c *cluster) user(name, group string) error {
	if filepath.Base(name) != name || name == "." || name == ".." {
		return fmt.Errorf("user %q: want a name that can be a file's", name)
	}
	a, err := newAuthority(c.path("pki"))
	if err != nil {
		return err
	}
	subject := pkix.Name{CommonName: name}
	if group != "" {
		subject.Organization = []string{group}
	}
	file := "user-" + name
	if err := a.issue(file, subject); err != nil {
		return err
	}
	if err := c.writeKubeconfig(file); err != nil {
		return err
	}
	fmt.Println(c.kubeconfig(file))
	return nil
}
