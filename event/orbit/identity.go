package orbit

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Role is what the holder of a certificate is.
type Role uint8

// The roles.
const (
	// RoleUnknown is of certificates that orb8 did not issue.
	RoleUnknown Role = iota
	RoleServer
	RoleAgent
	RoleViewer
)

// String is the role as the URI of its certificates has it.
func (r Role) String() string {
	switch r {
	case RoleServer:
		return "server"
	case RoleAgent:
		return "agent"
	case RoleViewer:
		return "viewer"
	}
	return "unknown"
}

// Peer is who holds a certificate.
type Peer struct {
	Role Role
	// Node is an agent's node.
	Node string
	// User is a viewer's.
	User *User
}

// User is a user of the cluster, as the API server has authenticated them.
type User struct {
	Name, UID string
	Groups    []string
	Extra     map[string][]string
}

// NewUser returns a user of what one of the API server's types holds of them.
func NewUser[V ~[]string](name, uid string, groups []string, extra map[string]V) *User {
	u := &User{Name: name, UID: uid, Groups: groups}
	if len(extra) > 0 {
		u.Extra = make(map[string][]string, len(extra))
	}
	for key, values := range extra {
		u.Extra[key] = values
	}
	return u
}

const (
	scheme      = "orb8"
	agentPrefix = scheme + "://agent/"
)

// URI returns the URI that identifies the peer in its certificate.
func (p Peer) URI() *url.URL {
	u := &url.URL{Scheme: scheme, Host: p.Role.String()}
	if p.Role == RoleAgent {
		u.Path = "/" + p.Node
	}
	return u
}

// CheckNode checks the name of a node: a DNS subdomain, as Kubernetes has it.
func CheckNode(name string) error {
	if name == "" || len(name) > 253 {
		return fmt.Errorf("node %q: want 1 to 253 characters", name)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fmt.Errorf("node %q: want a DNS subdomain in lower case", name)
		}
	}
	return nil
}

// PeerOf returns who holds a certificate. It does not verify the certificate; see Bundle.Verify.
//
// The URI is the only name that counts. Viewers have no other, and agents only AgentDNS: a certificate of another
// authority, or for another purpose, with a matching DNS name is none of a peer.
func PeerOf(cert *x509.Certificate) (Peer, error) {
	if cert.IsCA {
		return Peer{}, errors.New("certificate of an authority, not of a peer")
	}
	if len(cert.URIs) != 1 {
		return Peer{}, fmt.Errorf("certificate with %d URIs: want one, %s://…", len(cert.URIs), scheme)
	}
	name := cert.URIs[0].String()
	peer, err := parseName(name)
	if err != nil {
		return Peer{}, err
	}
	others := len(cert.DNSNames) + len(cert.IPAddresses) + len(cert.EmailAddresses)
	if peer.Role == RoleAgent && slices.Equal(cert.DNSNames, []string{AgentDNS}) {
		others--
	}
	if others > 0 && peer.Role != RoleServer {
		return Peer{}, fmt.Errorf("certificate of %s: it has %d other names", name, others)
	}
	user, err := userOf(cert.Extensions)
	switch {
	case err != nil:
		return Peer{}, fmt.Errorf("certificate of %s: %w", name, err)
	case (user != nil) != (peer.Role == RoleViewer):
		return Peer{}, fmt.Errorf("certificate of %s: user information is of viewers, and of all viewers", name)
	}
	peer.User = user
	return peer, nil
}

func parseName(name string) (Peer, error) {
	for _, role := range []Role{RoleServer, RoleViewer} {
		if p := (Peer{Role: role}); name == p.URI().String() {
			return p, nil
		}
	}
	node, ok := strings.CutPrefix(name, agentPrefix)
	if !ok {
		return Peer{}, fmt.Errorf("certificate of %q: not a name of orb8", name)
	}
	if err := CheckNode(node); err != nil {
		return Peer{}, fmt.Errorf("certificate of %q: %w", name, err)
	}
	return Peer{Role: RoleAgent, Node: node}, nil
}

// userExtension is the extension with the user of a viewer's certificate. Its arcs fit 31 bits, as Go's parser wants.
var userExtension = asn1.ObjectIdentifier{2, 25, 1462873094, 1}

const userVersion = 1

// Bounds of the user information in a certificate. Some identity providers report hundreds of groups.
const (
	maxUserBytes   = 32 << 10
	maxGroups      = 1024
	maxExtraKeys   = 64
	maxExtraValues = 256
)

// userInfo is the ASN.1 of the extension. Encodings are canonical: extra is in the order of its keys.
type userInfo struct {
	Version   int
	Name, UID string
	Groups    []string
	Extra     []extraInfo
}

type extraInfo struct {
	Key    string
	Values []string
}

// Extension encodes the user for a certificate. It fails where the user does not fit.
func (u *User) Extension() (pkix.Extension, error) {
	if err := u.check(); err != nil {
		return pkix.Extension{}, err
	}
	info := userInfo{Version: userVersion, Name: u.Name, UID: u.UID, Groups: u.Groups}
	for _, key := range slices.Sorted(maps.Keys(u.Extra)) {
		info.Extra = append(info.Extra, extraInfo{key, u.Extra[key]})
	}
	der, err := asn1.Marshal(info)
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("user %q: %w", u.Name, err)
	}
	if len(der) > maxUserBytes {
		return pkix.Extension{}, fmt.Errorf("user %q: name, groups and extra take %d bytes, at most %d fit", u.Name,
			len(der), maxUserBytes)
	}
	return pkix.Extension{Id: userExtension, Value: der}, nil
}

func (u *User) check() error {
	if u.Name == "" {
		return errors.New("user without a name")
	}
	if len(u.Groups) > maxGroups {
		return fmt.Errorf("user %q: %d groups, at most %d fit", u.Name, len(u.Groups), maxGroups)
	}
	values := 0
	for _, v := range u.Extra {
		values += len(v)
	}
	if len(u.Extra) > maxExtraKeys || values > maxExtraValues {
		return fmt.Errorf("user %q: extra has %d keys and %d values, at most %d and %d fit", u.Name, len(u.Extra),
			values, maxExtraKeys, maxExtraValues)
	}
	return nil
}

// userOf returns the user of a certificate, nil where it has none.
func userOf(extensions []pkix.Extension) (user *User, err error) {
	for i := range extensions {
		if !extensions[i].Id.Equal(userExtension) {
			continue
		}
		if user != nil {
			return nil, errors.New("user information: it is there twice")
		}
		if user, err = parseUser(extensions[i].Value); err != nil {
			return nil, fmt.Errorf("user information: %w", err)
		}
	}
	return user, nil
}

// parseUser reads what Extension has written, and nothing else.
func parseUser(der []byte) (*User, error) {
	if len(der) > maxUserBytes {
		return nil, fmt.Errorf("%d bytes, at most %d are accepted", len(der), maxUserBytes)
	}
	var info userInfo
	rest, err := asn1.Unmarshal(der, &info)
	switch {
	case err != nil:
		return nil, err
	case len(rest) > 0:
		return nil, fmt.Errorf("%d bytes follow it", len(rest))
	case info.Version != userVersion:
		return nil, fmt.Errorf("version %d, want %d", info.Version, userVersion)
	}
	u := &User{Name: info.Name, UID: info.UID}
	if len(info.Groups) > 0 {
		u.Groups = info.Groups
	}
	if len(info.Extra) > maxExtraKeys {
		return nil, fmt.Errorf("extra has %d keys, at most %d are accepted", len(info.Extra), maxExtraKeys)
	}
	if len(info.Extra) > 0 {
		u.Extra = make(map[string][]string, len(info.Extra))
	}
	for _, e := range info.Extra {
		u.Extra[e.Key] = e.Values
	}
	// Other orders, keys that are there twice and other encodings of the same user differ from what Extension writes.
	canonical, err := u.Extension()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(canonical.Value, der) {
		return nil, errors.New("the encoding is not canonical")
	}
	return u, nil
}
