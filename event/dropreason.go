package event

import "strings"

// What kinds of reasons there are for dropping a packet.
const (
	causePolicy   = "policy"
	causeQueue    = "queue"
	causeChecksum = "checksum"
	causeNoSocket = "no-socket"
	causeRoute    = "route"
	causeProtocol = "protocol"
	causeOther    = "other"
)

var dropCauses = []string{causePolicy, causeQueue, causeChecksum, causeNoSocket, causeRoute, causeProtocol, causeOther}

// dropReason explains one of the kernel's reasons.
type dropReason struct{ cause, words string }

// dropReasons are those of include/net/dropreason-core.h (Linux 5.17 to 6.18) that say something by themselves.
var dropReasons = map[string]dropReason{
	"NETFILTER_DROP": {causePolicy,
		"a firewall rule (netfilter: iptables, nftables, a NetworkPolicy made of them)"},
	"NF_DROP":           {causePolicy, "a firewall rule (netfilter)"},
	"BPF_CGROUP_EGRESS": {causePolicy, "an eBPF program of the cgroup forbids sending it"},
	"SOCKET_FILTER":     {causePolicy, "a filter or eBPF program of the socket or its cgroup"},
	"TC_EGRESS": {causePolicy,
		"a tc filter or eBPF program on the way out (Cilium and others enforce policy there)"},
	"TC_INGRESS": {causePolicy,
		"a tc filter or eBPF program on the way in (Cilium and others enforce policy there)"},
	"XDP":                     {causePolicy, "an XDP program"},
	"TAP_FILTER":              {causePolicy, "the filter of a tap device"},
	"XFRM_POLICY":             {causePolicy, "an IPsec policy"},
	"SECURITY_HOOK":           {causePolicy, "a security module"},
	"IP_RPFILTER":             {causePolicy, "reverse path filter: no route back to the source by this device"},
	"UNICAST_IN_L2_MULTICAST": {causePolicy, "unicast in a multicast frame"},

	"SOCKET_RCVBUFF":           {causeQueue, "the socket's receive buffer is full: the process reads too slowly"},
	"SOCKET_BACKLOG":           {causeQueue, "the socket's backlog is full while the process holds it"},
	"PROTO_MEM":                {causeQueue, "the protocol's memory (tcp_mem, udp_mem) is used up"},
	"QDISC_DROP":               {causeQueue, "the queue of the device (qdisc) is full, or shapes"},
	"QDISC_OVERLIMIT":          {causeQueue, "the queue of the device (qdisc) is over its limit"},
	"QDISC_CONGESTED":          {causeQueue, "the queue of the device (qdisc) is congested"},
	"CPU_BACKLOG":              {causeQueue, "the CPU's input queue is full (net.core.netdev_max_backlog)"},
	"FULL_RING":                {causeQueue, "the device's ring is full"},
	"NEIGH_QUEUEFULL":          {causeQueue, "too many packets wait for the neighbor's link address"},
	"TCP_LISTEN_OVERFLOW":      {causeQueue, "the listener's accept queue is full: the process accepts too slowly"},
	"TCP_REQQFULLDROP":         {causeQueue, "the listener's SYN queue is full"},
	"TCP_BACKLOG":              {causeQueue, "the connection's backlog is full"},
	"TCP_ZEROWINDOW":           {causeQueue, "the receive window is closed: the process reads too slowly"},
	"TCP_OFO_DROP":             {causeQueue, "the queue for what came out of order is full"},
	"TCP_OFO_QUEUE_PRUNE":      {causeQueue, "the queue for what came out of order was cut for want of memory"},
	"TCP_RFC7323_PAWS":         {causeProtocol, "an old timestamp (PAWS)"},
	"TCP_MINTTL":               {causePolicy, "fewer hops left than the socket asks for"},
	"NOMEM":                    {causeQueue, "no memory"},
	"UDP_CSUM":                 {causeChecksum, "the UDP checksum is wrong"},
	"TCP_CSUM":                 {causeChecksum, "the TCP checksum is wrong"},
	"ICMP_CSUM":                {causeChecksum, "the ICMP checksum is wrong"},
	"IP_CSUM":                  {causeChecksum, "the IP header's checksum is wrong"},
	"SKB_CSUM":                 {causeChecksum, "the checksum could not be made"},
	"NO_SOCKET":                {causeNoSocket, "nothing listens on that port"},
	"SOCKET_CLOSE":             {causeNoSocket, "the socket is closing"},
	"IP_OUTNOROUTES":           {causeRoute, "no route to the destination"},
	"IP_INNOROUTES":            {causeRoute, "it came in, and there is no route for it"},
	"IP_NOPROTO":               {causeNoSocket, "nothing handles that IP protocol"},
	"IP_LOCAL_SOURCE":          {causeRoute, "it came in with an address of this very host as its source"},
	"IP_INVALID_SOURCE":        {causeRoute, "its source address is not valid"},
	"IP_INVALID_DEST":          {causeRoute, "its destination address is not valid"},
	"IP_LOCALNET":              {causeRoute, "a loopback address from outside"},
	"OTHERHOST":                {causeRoute, "the frame was for another host"},
	"NEIGH_FAILED":             {causeRoute, "the neighbor's link address could not be found out"},
	"NEIGH_CREATEFAIL":         {causeRoute, "no neighbor entry could be made"},
	"NEIGH_HH_FILLFAIL":        {causeRoute, "no link header could be made"},
	"NEIGH_DEAD":               {causeRoute, "the neighbor entry is gone"},
	"LOCAL_MAC":                {causeRoute, "the frame's source is this host's own address"},
	"DEV_READY":                {causeRoute, "the device is not up"},
	"IPV6DISABLED":             {causeRoute, "IPv6 is disabled"},
	"PKT_TOO_BIG":              {causeProtocol, "larger than the way takes (MTU)"},
	"PKT_TOO_SMALL":            {causeProtocol, "shorter than its headers say"},
	"HDR_TRUNC":                {causeProtocol, "its header is cut off"},
	"IP_INHDR":                 {causeProtocol, "its IP header is wrong"},
	"IPV6_BAD_EXTHDR":          {causeProtocol, "an IPv6 extension header is wrong"},
	"TCP_INVALID_SEQUENCE":     {causeProtocol, "a sequence number outside of the window"},
	"TCP_INVALID_ACK_SEQUENCE": {causeProtocol, "an acknowledgment outside of the window"},
	"TCP_OLD_DATA":             {causeProtocol, "data that was there already"},
	"TCP_OLD_ACK":              {causeProtocol, "an old acknowledgment"},
	"TCP_OLD_SEQUENCE":         {causeProtocol, "an old sequence number"},
	"TCP_OVERWINDOW":           {causeProtocol, "beyond the receive window"},
	"TCP_FLAGS":                {causeProtocol, "TCP flags that have no place here"},
	"TCP_RESET":                {causeProtocol, "a reset that is not valid"},
	"TCP_CLOSE":                {causeNoSocket, "the connection is closed"},
	"TCP_ABORT_ON_DATA":        {causeNoSocket, "data for a connection that the program has closed"},
	"UNHANDLED_PROTO":          {causeProtocol, "nothing handles that protocol"},
	"DUP_FRAG":                 {causeProtocol, "a fragment that was there already"},
	"FRAG_REASM_TIMEOUT":       {causeOther, "fragments that never became whole"},
	"ICMP_CB_INVALID":          {causeProtocol, "the ICMP message is not valid"},
	"QUEUE_PURGE":              {causeOther, "a queue was emptied, as at the end of a device or socket"},
	"NOT_SPECIFIED":            {causeOther, "the kernel does not say why: see the location"},
}

func causeOf(reason string) string {
	if r, ok := dropReasons[reason]; ok {
		return r.cause
	}
	switch {
	case reason == "":
		return ""
	case strings.HasSuffix(reason, "_CSUM"):
		return causeChecksum
	case strings.HasPrefix(reason, "QDISC_"):
		return causeQueue
	case strings.HasPrefix(reason, "NEIGH_"):
		return causeRoute
	case strings.HasPrefix(reason, "TCP_"), strings.HasPrefix(reason, "IP_"), strings.HasPrefix(reason, "IPV6_"),
		strings.HasPrefix(reason, "VXLAN_"):
		return causeProtocol
	}
	return causeOther
}

// wordsOf is the reason for people; the kernel's own word in lower case where there is no better.
func wordsOf(reason string) string {
	if r, ok := dropReasons[reason]; ok {
		return r.words
	}
	return strings.ToLower(strings.ReplaceAll(reason, "_", " "))
}
