// Java's own TLS against a server: one line a case, "<case>: ok" or "<case>: <why not>".
// Arguments: host, port, and the file of the authority to trust.

import java.io.FileInputStream;
import java.net.URI;
import java.security.KeyStore;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.util.LinkedHashMap;
import java.util.Map;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public final class Probe {
    private static final Map<String, String[]> CASES = new LinkedHashMap<>();

    static {
        CASES.put("SSLv3", new String[] {"SSLv3"});
        CASES.put("TLS 1.0", new String[] {"TLSv1"});
        CASES.put("TLS 1.1", new String[] {"TLSv1.1"});
        CASES.put("TLS 1.2", new String[] {"TLSv1.2"});
        CASES.put("TLS 1.3", new String[] {"TLSv1.3"});
        CASES.put("static RSA", new String[] {"TLSv1.2", "TLS_RSA_WITH_AES_128_GCM_SHA256"});
        CASES.put("CBC", new String[] {"TLSv1.2",
            "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"});
        CASES.put("anonymous", new String[] {"TLSv1.2", "TLS_DH_anon_WITH_AES_128_GCM_SHA256"});
        CASES.put("DHE only", new String[] {"TLSv1.2", "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"});
        CASES.put("3DES", new String[] {"TLSv1.2", "SSL_RSA_WITH_3DES_EDE_CBC_SHA"});
        CASES.put("RC4", new String[] {"TLSv1.2", "SSL_RSA_WITH_RC4_128_SHA"});
    }

    public static void main(String[] arguments) throws Exception {
        // Java forbids itself what the server is to be asked for.
        Security.setProperty("jdk.tls.disabledAlgorithms", "");
        Security.setProperty("jdk.certpath.disabledAlgorithms", "");
        String host = arguments[0];
        int port = Integer.parseInt(arguments[1]);
        SSLContext context = trusting(arguments[2]);
        for (Map.Entry<String, String[]> entry : CASES.entrySet()) {
            System.out.println(entry.getKey() + ": " + handshake(context, host, port, entry.getValue()));
        }
        System.out.println("HTTPS: " + get(context, "https://" + host + ":" + port + "/healthz"));
    }

    private static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream input = new FileInputStream(file)) {
            int number = 0;
            for (var found : CertificateFactory.getInstance("X.509").generateCertificates(input)) {
                store.setCertificateEntry("ca" + number++, found);
            }
        }
        TrustManagerFactory trust =
            TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    private static String handshake(SSLContext context, String host, int port, String[] wanted) {
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(host, port)) {
            socket.setSoTimeout(20_000);
            socket.setEnabledProtocols(new String[] {wanted[0]});
            if (wanted.length > 1) {
                String[] suites = new String[wanted.length - 1];
                System.arraycopy(wanted, 1, suites, 0, suites.length);
                socket.setEnabledCipherSuites(suites);
            }
            socket.startHandshake();
            return "ok";
        } catch (Exception error) {
            return String.valueOf(error.getMessage());
        }
    }

    private static String get(SSLContext context, String url) {
        try {
            HttpsURLConnection connection =
                (HttpsURLConnection) URI.create(url).toURL().openConnection();
            connection.setSSLSocketFactory(context.getSocketFactory());
            connection.setReadTimeout(20_000);
            return connection.getResponseCode() == 200 ? "ok" : "status " + connection.getResponseCode();
        } catch (Exception error) {
            return String.valueOf(error.getMessage());
        }
    }
}
