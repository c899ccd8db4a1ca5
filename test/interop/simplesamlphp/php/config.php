<?php
// Settings as the fixture wrote them, and one metadata source for each service
// provider that it registered: SimpleSAMLphp reads their XML itself.
$config = json_decode(file_get_contents(__DIR__ . '/config.json'), true, 512, JSON_THROW_ON_ERROR);
foreach (glob(__DIR__ . '/sp-*.xml') as $file) {
    $config['metadata.sources'][] = ['type' => 'xml', 'file' => $file];
}
