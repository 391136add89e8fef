// Parts of Kubernetes for tests, in one program. Its first argument names the part that runs, and
// the others are the options of that part.
package main

import (
	"fmt"
	"os"
	"slices"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	var part string
	if len(os.Args) > 1 {
		// Each part reads its own options here, behind its name.
		os.Args = slices.Delete(os.Args, 0, 1)
		part = os.Args[0]
	}
	switch part {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	default:
		fmt.Fprintf(os.Stderr, "%q: not a part; use etcd, kube-apiserver or kube-controller-manager\n", part)
		os.Exit(2)
	}
}
