package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cequence.cloud/saml-operator/api/v1alpha1"
)

// guide is what an identity provider calls what it has to be told. A step has
// one of the values of fields in braces.
type guide struct {
	name  string
	steps []string
}

// guides by the values of --idp.
var guides = map[string]guide{
	"entra": {"Microsoft Entra ID", []string{
		"In the Entra admin center: Enterprise applications, New application, Create your own application, \"Integrate any other application\".",
		"Single sign-on, SAML, Basic SAML Configuration:",
		"    Identifier (Entity ID):                      {entityID}",
		"    Reply URL (Assertion Consumer Service URL):  {acsURL}",
		"    Sign on URL:                                 {signOnURL}",
		"    Logout Url (Optional):                       {sloURL}",
		"Attributes & Claims, Add a group claim: \"Groups assigned to the application\", and under Advanced options the name Group.",
		"Users and groups: assign those who may sign in.",
		"Send us the App Federation Metadata Url (under SAML Certificates). It ends in ?appid=…; we fetch new certificates from it.",
	}},
	"okta": {"Okta", []string{
		"In the Admin Console: Applications, Create App Integration, SAML 2.0.",
		"    Single sign-on URL:           {acsURL}",
		"    Audience URI (SP Entity ID):  {entityID}",
		"    Name ID format:               Persistent",
		"Attribute Statements: email, firstName and lastName; Group Attribute Statements: the name Group.",
		"Show Advanced Settings, Enable Single Logout: the Single Logout URL {sloURL}, the SP Issuer {entityID}, and our certificate from {metadataURL}.",
		"Assignments: those who may sign in.",
		"Send us the Metadata URL (under Sign On).",
	}},
	"adfs": {"AD FS", []string{
		"AD FS Management: Add Relying Party Trust, Claims aware, \"Import data about the relying party published online\": {metadataURL}",
		"Issuance policy: the object GUID or the e-mail address as Name ID, given name, surname, and the group names as Group.",
		"Send us the address https://<your AD FS>/FederationMetadata/2007-06/FederationMetadata.xml.",
	}},
	"google": {"Google Workspace", []string{
		"In the Admin console: Apps, Web and mobile apps, Add app, Add custom SAML app.",
		"    ACS URL:    {acsURL}",
		"    Entity ID:  {entityID}",
		"    Start URL:  {signOnURL}",
		"    Name ID:    Basic information, Primary email; the format PERSISTENT",
		"Attribute mapping: First name as firstName, Last name as lastName; Group membership as Group.",
		"Send us the metadata file (Download metadata). Google publishes no address for it.",
	}},
	"other": {"another identity provider", []string{
		"Import our metadata from {metadataURL}, or enter:",
		"    Entity ID (Audience):            {entityID}",
		"    Assertion Consumer Service URL:  {acsURL} (HTTP-POST)",
		"    Single Logout Service URL:       {sloURL}",
		"    Sign-on URL:                     {signOnURL}",
		"Send a lasting NameID, the e-mail address, and the groups as the multi-valued attribute Group. Sign assertions by RSA with SHA-256 or better.",
		"Send us the URL of your metadata.",
	}},
}

func (p *plugin) onboardingCommand() *cobra.Command {
	var idp string
	names := slices.Sorted(maps.Keys(guides))
	command := &cobra.Command{
		Use: "onboarding TENANT", Short: "Print what the customer's administrator has to enter, ready to mail", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			guide, ok := guides[idp]
			if !ok {
				return fmt.Errorf("--idp is %q; write one of %s", idp, strings.Join(names, ", "))
			}
			tenant, err := p.tenant(c.Context(), args[0])
			if err != nil {
				return err
			}
			values := tenant.Status.ServiceProvider
			if values == nil {
				return errors.New("the operator has not looked at this tenant yet; is it running?")
			}
			return p.print(values, func() { _, _ = fmt.Fprint(p.out, guide.letter(tenant, values)) })
		},
	}
	command.Flags().StringVar(&idp, "idp", "entra", "the customer's identity provider: "+strings.Join(names, ", "))
	_ = command.RegisterFlagCompletionFunc("idp", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return command
}

// letter is the text of a mail.
func (g guide) letter(tenant *v1alpha1.SAMLTenant, values *v1alpha1.ServiceProviderStatus) string {
	fields := strings.NewReplacer("{entityID}", values.EntityID, "{acsURL}", values.ACSURL, "{signOnURL}", values.SignOnURL,
		"{sloURL}", values.SLOURL, "{metadataURL}", values.MetadataURL)
	var b strings.Builder
	fmt.Fprintf(&b, "Single sign-on for %s with %s\n\n", cmp.Or(tenant.Spec.DisplayName, tenant.Spec.CustomerName), g.name)
	number := 0
	for _, step := range g.steps {
		if !strings.HasPrefix(step, " ") {
			number++
			step = fmt.Sprintf("%d. %s", number, step)
		}
		b.WriteString(fields.Replace(step) + "\n")
	}
	if values.SCIMURL != "" {
		fmt.Fprintf(&b, "\nProvisioning by SCIM 2.0, so that whoever leaves is out at once:\n    Tenant URL:    %s\n    Secret token:  comes by another way\n", values.SCIMURL)
		if byExternalID(tenant) {
			b.WriteString("    Attribute mapping: externalId has to be what your single sign-on sends as the user's ID (in Entra ID: objectId).\n")
		}
	}
	fmt.Fprintf(&b, "\nYour users then sign in at %s\n", values.SignOnURL)
	return b.String()
}

func byExternalID(tenant *v1alpha1.SAMLTenant) bool {
	p := tenant.Spec.Provisioning
	return p != nil && p.SCIM != nil && p.SCIM.IdentifiedBy != v1alpha1.SCIMUserName
}
