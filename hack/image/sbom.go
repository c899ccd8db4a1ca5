package main

import (
	"debug/buildinfo"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
)

const noAssertion = "NOASSERTION"

// writeSBOM writes what is in an image, as SPDX 2.3: the Go modules that its
// programs say they were built from, and Go's standard library. A module that
// one platform needs and another does not is in the list.
func writeSBOM(file string, r request, digest v1.Hash, version string, created time.Time, programs []string) (err error) {
	modules := map[string]string{}
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return err
		}
		modules["stdlib"] = strings.TrimPrefix(info.GoVersion, "go")
		modules[info.Main.Path] = version
		for _, module := range info.Deps {
			module = replaced(module)
			modules[module.Path] = module.Version
		}
	}
	image := &spdx.Package{
		PackageName: r.title, PackageSPDXIdentifier: "Image", PackageVersion: version, PrimaryPackagePurpose: "CONTAINER",
		PackageDownloadLocation: noAssertion, PackageLicenseDeclared: "Apache-2.0", PackageLicenseConcluded: noAssertion, PackageCopyrightText: noAssertion,
		PackageChecksums: []common.Checksum{{Algorithm: common.SHA256, Value: digest.Hex}},
	}
	document := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      r.title + "-" + version,
		DocumentNamespace: fmt.Sprintf("https://cequence.cloud/spdx/%s-%s", r.title, digest.Hex),
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "saml-operator-hack-image"}},
			Created:  created.Format(time.RFC3339),
		},
		Packages:      []*spdx.Package{image},
		Relationships: []*spdx.Relationship{relate("DOCUMENT", "DESCRIBES", "Image")},
	}
	for i, path := range slices.Sorted(maps.Keys(modules)) {
		id := common.ElementID(fmt.Sprintf("Module-%d", i))
		document.Packages = append(document.Packages, &spdx.Package{
			PackageName: path, PackageSPDXIdentifier: id, PackageVersion: modules[path], PrimaryPackagePurpose: "LIBRARY",
			PackageDownloadLocation: noAssertion, PackageLicenseDeclared: noAssertion, PackageLicenseConcluded: noAssertion, PackageCopyrightText: noAssertion,
			PackageExternalReferences: []*spdx.PackageExternalReference{{
				Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL,
				Locator: "pkg:golang/" + path + "@" + modules[path],
			}},
		})
		document.Relationships = append(document.Relationships, relate("Image", "CONTAINS", id))
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if closed := out.Close(); err == nil {
			err = closed
		}
	}()
	return spdxjson.Write(document, out, spdxjson.Indent("  "))
}

// replaced returns the module that was really built.
func replaced(module *debug.Module) *debug.Module {
	if module.Replace != nil {
		return module.Replace
	}
	return module
}

func relate(from common.ElementID, how string, to common.ElementID) *spdx.Relationship {
	return &spdx.Relationship{
		RefA: common.DocElementID{ElementRefID: from}, Relationship: how, RefB: common.DocElementID{ElementRefID: to},
	}
}
