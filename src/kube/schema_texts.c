/* SPDX-License-Identifier: Apache-2.0
 *
 * The known fields of the kinds that are read, in the language of schema.h:
 * core v1, discovery v1, Gateway API v1 with the experimental channel, Istio's
 * networking v1, security v1 and MeshConfig.  Parts of a Pod that never matter here are left
 * open, and so are the rules of a policy: there an unknown field is more than a
 * warning (model_istio.c).
 */
#include "kube/schema.h"
#include "kube/store.h"

#define TOP "apiVersion kind metadata* status* "
#define STRICT "=" TOP
#define SELECTOR "{matchLabels~ matchExpressions[key operator values+]}"
#define HEADER_FILTER "{set[name value] add[name value] remove+}"
#define BACKEND "group kind name namespace port weight"
#define FILTERS                                                                                    \
    "filters[type requestHeaderModifier" HEADER_FILTER " responseHeaderModifier" HEADER_FILTER     \
    " requestMirror{backendRef{group kind name namespace port} percent "                           \
    "fraction{numerator denominator}}"                                                             \
    " requestRedirect{scheme hostname path{type replaceFullPath replacePrefixMatch} port "         \
    "statusCode}"                                                                                  \
    " urlRewrite{hostname path{type replaceFullPath replacePrefixMatch}}"                          \
    " cors{allowOrigins+ allowCredentials allowMethods+ allowHeaders+ exposeHeaders+ maxAge}"      \
    " extensionRef{group kind name} externalAuth*]"

#define GRPC_FILTERS                                                                               \
    "filters[type requestHeaderModifier" HEADER_FILTER " responseHeaderModifier" HEADER_FILTER     \
    " requestMirror{backendRef{group kind name namespace port} percent "                           \
    "fraction{numerator denominator}} extensionRef{group kind name}]"
#define TARGETS "targetRefs[group kind name namespace sectionName]"
#define PARENT "group kind namespace name sectionName port"
#define SESSION                                                                                    \
    "sessionPersistence{sessionName absoluteTimeout idleTimeout type cookieConfig{lifetimeType}}"
#define STRING_MATCH "exact prefix regex"
#define DESTINATION "host subset port{number}"
#define HEADERS "request{set~ add~ remove+} response{set~ add~ remove+}"
#define RETRIES                                                                                    \
    "attempts perTryTimeout retryOn retryRemoteLocalities retryIgnorePreviousHosts backoff"
#define L4_MATCH "destinationSubnets+ port sourceLabels~ gateways+ sourceNamespace sourceSubnet"
#define TRAFFIC                                                                                    \
    "loadBalancer{simple consistentHash{httpHeaderName httpCookie{name path ttl attributes*} "     \
    "useSourceIp httpQueryParameterName ringHash{minimumRingSize} maglev{tableSize} "              \
    "minimumRingSize} localityLbSetting{" LOCALITY_LB                                              \
    "} zoneAwareLbSetting* warmupDurationSecs warmup{duration minimumPercent aggression}} "        \
    "connectionPool{tcp{maxConnections connectTimeout tcpKeepalive{probes time interval} "         \
    "maxConnectionDuration idleTimeout} http{http1MaxPendingRequests http2MaxRequests "            \
    "maxRequestsPerConnection maxRetries idleTimeout h2UpgradePolicy useClientProtocol "           \
    "maxConcurrentStreams http2KeepAlive{interval timeout}}} "                                     \
    "outlierDetection{consecutiveErrors splitExternalLocalOriginErrors "                           \
    "consecutiveLocalOriginFailures consecutiveGatewayErrors consecutive5xxErrors interval "       \
    "baseEjectionTime maxEjectionPercent minHealthPercent outlierDetectionHttpErrorCodes*} "       \
    "tls{mode clientCertificate privateKey caCertificates credentialName subjectAltNames+ sni "    \
    "insecureSkipVerify caCrl} tunnel{protocol targetHost targetPort} proxyProtocol{version} "     \
    "retryBudget{percent minRetryConcurrency budgetInterval}"
#define PROXY_CONFIG                                                                               \
    "configPath binaryPath serviceCluster drainDuration parentShutdownDuration discoveryAddress "  \
    "discoveryRefreshDelay zipkinAddress connectTimeout statsdUdpAddress proxyAdminPort "          \
    "controlPlaneAuthPolicy customConfigFile statNameLength concurrency "                          \
    "proxyBootstrapTemplatePath interceptionMode tracing sds envoyAccessLogService "               \
    "envoyMetricsService proxyMetadata runtimeValues statusPort extraStatTags gatewayTopology "    \
    "terminationDrainDuration meshId readinessProbe proxyStatsMatcher "                            \
    "holdApplicationUntilProxyStarts caCertificatesPem image privateKeyProvider "                  \
    "fileFlushInterval fileFlushMinSizeKb statsCompression statsEvictionInterval "                 \
    "availabilityZone connectionSettings proxyHeaders{forwardedClientCert "                        \
    "setCurrentClientCertDetails{subject cert chain dns uri} requestId{disabled} "                 \
    "server{disabled value} attemptCount{disabled} envoyDebugHeaders{disabled} "                   \
    "metadataExchangeHeaders{mode} preserveHttp1HeaderCase xForwardedHost{enabled} "               \
    "xForwardedPort{enabled}}"
#define LOCALITY_LB "distribute[from to~] failover[from to] failoverPriority+ enabled"

const char *const cn_schema_texts[CN_KIND_MAX] = {
    [CN_KIND_NAMESPACE] = TOP "spec{finalizers}",
    [CN_KIND_SERVICE] = STRICT
    "spec{ports[name protocol appProtocol port targetPort nodePort] selector~ clusterIP "
    "clusterIPs+ type externalIPs+ sessionAffinity loadBalancerIP loadBalancerSourceRanges+ "
    "externalName externalTrafficPolicy healthCheckNodePort publishNotReadyAddresses "
    "sessionAffinityConfig{clientIP{timeoutSeconds}} ipFamilies+ ipFamilyPolicy allocateLoadBalancerNodePorts "
    "loadBalancerClass internalTrafficPolicy trafficDistribution}",
    [CN_KIND_ENDPOINT_SLICE] = STRICT
    "addressType endpoints[addresses+ conditions{ready serving terminating} hostname "
    "targetRef{apiVersion kind name namespace uid resourceVersion fieldPath} "
    "deprecatedTopology* topology* nodeName zone hints*] ports[name protocol port appProtocol]",
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
    [CN_KIND_GATEWAY_CLASS] = STRICT "spec{controllerName parametersRef* description}",
    [CN_KIND_GATEWAY] = STRICT
    "spec{gatewayClassName listeners[name hostname port protocol tls* "
    "allowedRoutes{namespaces{from selector" SELECTOR "} kinds[group kind]}] addresses[type "
    "value] infrastructure{labels~ annotations~ parametersRef{group kind name}} "
    "allowedListeners* backendTLS* tls* defaultScope}",
    [CN_KIND_HTTP_ROUTE] =
        STRICT "spec{parentRefs[" PARENT "] hostnames+ "
               "useDefaultGateways rules[name matches[path{type value} headers[type name value] "
               "queryParams[type name value] method] " FILTERS " backendRefs[" BACKEND " " FILTERS
               "] timeouts{request backendRequest} retry{codes+ attempts backoff} " SESSION "]}",
    [CN_KIND_GRPC_ROUTE] =
        STRICT "spec{parentRefs[" PARENT "] hostnames+ useDefaultGateways rules[name "
               "matches[method{type service method} headers[type name value]] " GRPC_FILTERS
               " backendRefs[" BACKEND " " GRPC_FILTERS "] " SESSION "]}",
    [CN_KIND_TCP_ROUTE] = STRICT "spec{parentRefs[" PARENT
                                 "] useDefaultGateways rules[name backendRefs[" BACKEND "]]}",
    [CN_KIND_TLS_ROUTE] =
        STRICT "spec{parentRefs[" PARENT
               "] hostnames+ useDefaultGateways rules[name backendRefs[" BACKEND "]]}",
    [CN_KIND_VIRTUAL_SERVICE] = STRICT
    "spec{hosts+ gateways+ exportTo+ http[name match[name uri{" STRING_MATCH
    "} scheme{" STRING_MATCH "} method{" STRING_MATCH "} authority{" STRING_MATCH
    "} headers~ withoutHeaders~ queryParams~ ignoreUriCase port sourceLabels~ sourceNamespace gateways+ "
    "statPrefix] route[destination{" DESTINATION "} weight headers{" HEADERS
    "}] redirect{uri authority port derivePort scheme redirectCode prefixRewrite} "
    "directResponse{status body{string bytes}} delegate{name namespace} "
    "rewrite{uri authority uriRegexRewrite{match rewrite}} timeout "
    "retries{" RETRIES "} fault{delay{percent fixedDelay exponentialDelay percentage{value}} "
    "abort{percent httpStatus grpcStatus http2Error percentage{value}}} mirror{" DESTINATION
    "} mirrorPercent mirrorPercentage{value} mirrors[destination{" DESTINATION
    "} percentage{value}] corsPolicy{allowOrigins[" STRING_MATCH
    "] allowOrigin+ allowMethods+ allowHeaders+ exposeHeaders+ maxAge allowCredentials "
    "unmatchedPreflights} headers{" HEADERS "}] "
    "tcp[match[" L4_MATCH "] route[destination{" DESTINATION "} weight]] "
    "tls[match[sniHosts+ " L4_MATCH "] route[destination{" DESTINATION "} weight]]}",
    [CN_KIND_DESTINATION_RULE] =
        STRICT "spec{host exportTo+ workloadSelector{matchLabels~} "
               "trafficPolicy{" TRAFFIC " portLevelSettings[port{number} " TRAFFIC
               "]} subsets[name labels~ trafficPolicy{" TRAFFIC
               " portLevelSettings[port{number} " TRAFFIC "]}]}",
    [CN_KIND_SERVICE_ENTRY] =
        STRICT "spec{hosts+ addresses+ ports[number name protocol targetPort] location resolution "
               "endpoints[address ports~ labels~ network locality weight serviceAccount] "
               "workloadSelector{labels~} exportTo+ subjectAltNames+}",
    [CN_KIND_WORKLOAD_ENTRY] =
        STRICT "spec{address ports~ labels~ network locality weight serviceAccount}",
    [CN_KIND_BACKEND_TLS_POLICY] = STRICT
    "spec{targetRefs[group kind name sectionName] validation{caCertificateRefs[group kind "
    "name] wellKnownCACertificates hostname subjectAltNames[type hostname uri]} options~}",
    [CN_KIND_BACKEND_TRAFFIC_POLICY] = STRICT
    "spec{targetRefs[group kind name] retryConstraint{budget{percent interval} minRetryRate{count "
    "interval}} " SESSION "}",
    [CN_KIND_RATE_LIMIT_POLICY] =
        STRICT "spec{" TARGETS " local[name limit{requests interval burst} key[type name prefixV4 "
               "prefixV6] match* maxKeys scope] global{domain service{name namespace port} timeout "
               "failureMode hits match* descriptors[entries[key type name value prefixV4 prefixV6 "
               "optional] match* hits limitOverride{requests unit}]} response{status body "
               "headers[name value] ratelimitHeaders grpcStatus} mode}",
    [CN_KIND_FAULT_POLICY] =
        STRICT "spec{" TARGETS " faults[delay{fixed percentage} abort{httpStatus grpcStatus "
               "percentage} headers[name value]]}",
    [CN_KIND_ENVOY_FILTER] =
        TOP "spec{" TARGETS " workloadSelector{labels} priority configPatches[applyTo match "
            "patch{operation value filterClass}]}",
    [CN_KIND_NODE] = TOP "spec",
    [CN_KIND_SECRET] = TOP "data stringData type immutable",
    [CN_KIND_CONFIG_MAP] = TOP "data binaryData immutable",
    [CN_KIND_AUTHORIZATION_POLICY] = STRICT
    "spec{selector{matchLabels~} targetRef{group kind name namespace} targetRefs[group kind "
    "name namespace] rules* action provider{name}}",
};

const char cn_schema_proxyconfig[] = PROXY_CONFIG;

const char cn_schema_meshconfig[] =
    "proxyListenPort proxyInboundListenPort proxyHttpPort connectTimeout hboneIdleTimeout "
    "tcpKeepalive ingressClass ingressService ingressControllerMode ingressSelector enableTracing "
    "accessLogFile accessLogFormat accessLogEncoding enableEnvoyAccessLogService "
    "disableEnvoyListenerLog defaultConfig{" PROXY_CONFIG
    "} outboundTrafficPolicy inboundTrafficPolicy "
    "configSources "
    "enableAutoMtls trustDomain trustDomainAliases caCertificates defaultServiceExportTo "
    "defaultVirtualServiceExportTo defaultDestinationRuleExportTo rootNamespace "
    "localityLbSetting{" LOCALITY_LB "} "
    "dnsRefreshRate h2UpgradePolicy inboundClusterStatName outboundClusterStatName "
    "enablePrometheusMerge extensionProviders defaultProviders discoverySelectors "
    "pathNormalization{normalization} defaultHttpRetryPolicy{" RETRIES "} meshMTLS tlsDefaults "
    "serviceScopeConfigs serviceEntryVisibility protocolDetectionTimeout serviceSettings "
    "verifyCertificateAtClient certificates thriftConfig disableMixerHttpReports clusterName "
    "network";
