// SPDX-License-Identifier: Apache-2.0

// h2spec HOST PORT FILE: runs all cases of h2spec against a server in the
// clear; FILE gets a JSON object, "section: case" to "passed", "skipped" or
// "failed".
package main

import (
	"encoding/json"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

func collect(group *spec.TestGroup, into map[string]string) {
	for _, test := range append(group.Tests, group.StrictTests...) {
		outcome := "passed"
		if test.Result == nil || test.Result.Skipped {
			outcome = "skipped"
		} else if test.Result.Failed {
			outcome = "failed"
		}
		into[group.Title()+": "+test.Desc] = outcome
	}
	for _, inner := range group.Groups {
		collect(inner, into)
	}
}

func run(host, port, file string) error {
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	c := &config.Config{Host: host, Port: number, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000, Strict: true}
	outcomes := map[string]string{}
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		group.Test(c)
		collect(group, outcomes)
	}
	text, err := json.Marshal(outcomes)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o666)
}

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}
