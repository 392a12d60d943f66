/* SPDX-License-Identifier: Apache-2.0
 *
 * The known fields of the kinds that are read, in the language of schema.h:
 * core v1, discovery v1, Gateway API v1 with the experimental channel, Istio's
 * security v1 and MeshConfig.  Parts of a Pod that never matter here are left
 * open, and so are the rules of a policy: there an unknown field is more than a
 * warning (model_istio.c).
 */
#include "kube/schema.h"
#include "kube/store.h"

#define TOP "apiVersion kind metadata status "
#define SELECTOR "{matchLabels matchExpressions[key operator values]}"
#define HEADER_FILTER "{set[name value] add[name value] remove}"
#define BACKEND "group kind name namespace port weight"
#define FILTERS                                                                                    \
    "filters[type requestHeaderModifier" HEADER_FILTER " responseHeaderModifier" HEADER_FILTER     \
    " requestMirror{backendRef{group kind name namespace port} percent "                           \
    "fraction{numerator denominator}}"                                                             \
    " requestRedirect{scheme hostname path{type replaceFullPath replacePrefixMatch} port "         \
    "statusCode}"                                                                                  \
    " urlRewrite{hostname path{type replaceFullPath replacePrefixMatch}}"                          \
    " cors{allowOrigins allowCredentials allowMethods allowHeaders exposeHeaders maxAge}"          \
    " extensionRef{group kind name} externalAuth]"

const char *const cn_schema_texts[CN_KIND_MAX] = {
    [CN_KIND_NAMESPACE] = TOP "spec{finalizers}",
    [CN_KIND_SERVICE] =
        TOP "spec{ports[name protocol appProtocol port targetPort nodePort] selector clusterIP "
            "clusterIPs type externalIPs sessionAffinity loadBalancerIP loadBalancerSourceRanges "
            "externalName externalTrafficPolicy healthCheckNodePort publishNotReadyAddresses "
            "sessionAffinityConfig ipFamilies ipFamilyPolicy allocateLoadBalancerNodePorts "
            "loadBalancerClass internalTrafficPolicy trafficDistribution}",
    [CN_KIND_ENDPOINT_SLICE] = TOP
    "addressType endpoints[addresses conditions{ready serving terminating} hostname "
    "targetRef{apiVersion kind name namespace uid resourceVersion fieldPath} "
    "deprecatedTopology topology nodeName zone hints] ports[name protocol port appProtocol]",
    [CN_KIND_POD] =
        TOP "spec{volumes initContainers containers[name image command args workingDir "
            "ports[name hostPort containerPort protocol hostIP] envFrom env resources resizePolicy "
            "restartPolicy restartPolicyRules volumeMounts volumeDevices livenessProbe "
            "readinessProbe startupProbe lifecycle terminationMessagePath terminationMessagePolicy "
            "imagePullPolicy securityContext stdin stdinOnce tty] ephemeralContainers "
            "restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy "
            "nodeSelector serviceAccountName serviceAccount automountServiceAccountToken nodeName "
            "hostNetwork hostPID hostIPC shareProcessNamespace securityContext imagePullSecrets "
            "hostname subdomain affinity schedulerName tolerations hostAliases priorityClassName "
            "priority dnsConfig readinessGates runtimeClassName enableServiceLinks "
            "preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os hostUsers "
            "schedulingGates resourceClaims resources hostnameOverride workloadRef}",
    [CN_KIND_GATEWAY_CLASS] = TOP "spec{controllerName parametersRef description}",
    [CN_KIND_GATEWAY] = TOP
    "spec{gatewayClassName listeners[name hostname port protocol tls "
    "allowedRoutes{namespaces{from selector" SELECTOR "} kinds[group kind]}] addresses[type "
    "value] infrastructure{labels annotations parametersRef{group kind name}} "
    "allowedListeners backendTLS tls defaultScope}",
    [CN_KIND_HTTP_ROUTE] =
        TOP "spec{parentRefs[group kind namespace name sectionName port] hostnames "
            "useDefaultGateways rules[name matches[path{type value} headers[type name value] "
            "queryParams[type name value] method] " FILTERS " backendRefs[" BACKEND " " FILTERS
            "] timeouts{request backendRequest} retry{codes attempts backoff} sessionPersistence]}",
    [CN_KIND_AUTHORIZATION_POLICY] =
        TOP "spec{selector{matchLabels} targetRef{group kind name namespace} targetRefs[group kind "
            "name namespace] rules action provider{name}}",
};

const char cn_schema_meshconfig[] =
    "proxyListenPort proxyInboundListenPort proxyHttpPort connectTimeout hboneIdleTimeout "
    "tcpKeepalive ingressClass ingressService ingressControllerMode ingressSelector enableTracing "
    "accessLogFile accessLogFormat accessLogEncoding enableEnvoyAccessLogService "
    "disableEnvoyListenerLog defaultConfig outboundTrafficPolicy inboundTrafficPolicy "
    "configSources "
    "enableAutoMtls trustDomain trustDomainAliases caCertificates defaultServiceExportTo "
    "defaultVirtualServiceExportTo defaultDestinationRuleExportTo rootNamespace localityLbSetting "
    "dnsRefreshRate h2UpgradePolicy inboundClusterStatName outboundClusterStatName "
    "enablePrometheusMerge extensionProviders defaultProviders discoverySelectors "
    "pathNormalization{normalization} defaultHttpRetryPolicy meshMTLS tlsDefaults "
    "serviceScopeConfigs serviceEntryVisibility protocolDetectionTimeout serviceSettings "
    "verifyCertificateAtClient certificates thriftConfig disableMixerHttpReports clusterName "
    "network";
