// Command fleet plays the agents of a large cluster to one orb8-server.
package main

import "fmt"

func main() {
	p := plan{agents: 1000, flows: 50, pods: 30}
	fmt.Println(p.flowCount(), "flows", p.check())
}
